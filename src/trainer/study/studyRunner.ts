/**
 * Carries a study out, one run after another: sweep, choice of rates, main runs and ablations, scores,
 * and the test split last. It can be ended at any time; what is done is found again by its hash.
 */
import path from 'node:path';
import { hashFile } from '../../data/prepare';
import { isNumber } from '../../protocol/guards';
import { writeFileAtomic } from '../../runs/atomicFile';
import { readScores, scoresFile, type RunScores } from '../../runs/compareRuns';
import { checkLiveness } from '../../runs/liveness';
import type { RunFolder } from '../../runs/runFolder';
import { createRun } from '../../runs/runStore';
import { estimateSeconds, type TimedRun } from '../../study/estimate';
import {
  chooseRates,
  planMain,
  planSweep,
  type PlannedRun,
  type StudyContext,
} from '../../study/plan';
import type { StudyStore } from '../../study/store';
import type { StudyConfig } from '../../study/studyConfig';
import { versions } from '../commands/versions';
import { runDota } from './childCommand';

export interface StudyProgress {
  /** Runs done, and in all (as far as it is known before the sweep is over). */
  done: number;
  total: number;
  secondsLeft: number;
  /** What is going on now. */
  now: string;
}

export interface StudyEvents {
  onProgress: (progress: StudyProgress) => void;
  onFailure: (run: PlannedRun, message: string) => void;
}

export interface StudyOutcome {
  done: number;
  total: number;
  /** Runs that ended in an error other than divergence. */
  failed: number;
  /** Stopped by signal or by the time given; a second start goes on. */
  interrupted: boolean;
  testScored: number;
}

export class StudyRunner {
  readonly #study: StudyConfig;
  readonly #context: StudyContext;
  readonly #store: StudyStore;
  readonly #events: StudyEvents;
  readonly #deadline: number;
  readonly #parameters: number;
  #timed: TimedRun[] = [];
  #failed = new Set<string>();
  #stopped = false;
  #stopChild: (() => void) | undefined;

  constructor(options: {
    study: StudyConfig;
    context: StudyContext;
    store: StudyStore;
    events: StudyEvents;
    /** No run is begun after so many seconds. */
    seconds: number;
    /** Of the base model, for the estimate before the first run. */
    modelParameters: number;
  }) {
    this.#study = options.study;
    this.#context = options.context;
    this.#store = options.store;
    this.#events = options.events;
    this.#deadline = performance.now() + 1000 * options.seconds;
    this.#parameters = options.modelParameters;
  }

  /** Ends after the run at hand has saved a checkpoint. */
  stop(): void {
    this.#stopped = true;
    this.#stopChild?.();
  }

  /** @throws DotaError of the disk; `study.changed` */
  async run(): Promise<StudyOutcome> {
    await this.#store.checkDesign(this.#study);
    const sweep = planSweep(this.#study, this.#context);
    // Before the rates are known, main runs are counted with any of them.
    const guess = new Map(
      Object.keys(this.#study.methods).map((m) => [m, this.#study.learning_rates[0] ?? 1]),
    );
    const rest = planMain(this.#study, this.#context, guess);
    await this.#runAll(sweep, rest);
    const rates = await this.rates(sweep);
    const every = Object.keys(this.#study.methods).every((method) => rates.has(method));
    if (!every || this.#over()) return this.#outcome([...sweep, ...rest], 0);
    const main = planMain(this.#study, this.#context, rates);
    const all = [...new Map([...sweep, ...main].map((run) => [run.key, run])).values()];
    await this.#runAll(main, []);
    const outcome = await this.#outcome(all, 0);
    const complete = outcome.done === outcome.total && !this.#over();
    return complete ? { ...outcome, testScored: await this.#scoreTests(main) } : outcome;
  }

  /** Rates that the sweep chose, of the methods of which all runs of the sweep are done. */
  async rates(sweep: readonly PlannedRun[]): Promise<Map<string, number>> {
    const losses = new Map<string, number>();
    for (const { key } of sweep) {
      const found = await this.#store.find(key);
      const state = found?.manifest.state;
      if (state === 'finished') losses.set(key, found?.manifest.best?.validationLoss ?? Infinity);
      // A rate at which the loss left the numbers is the worst, not a missing one.
      else if (found?.manifest.error?.code === 'train.nonFinite') losses.set(key, Infinity);
    }
    const chosen = chooseRates(this.#study, sweep, (key) => losses.get(key));
    return new Map([...chosen].map(([method, { rate }]) => [method, rate]));
  }

  #over(): boolean {
    return this.#stopped || performance.now() > this.#deadline;
  }

  /** @param later runs that follow, for the estimate */
  async #runAll(runs: readonly PlannedRun[], later: readonly PlannedRun[]): Promise<void> {
    const waiting: PlannedRun[] = [];
    for (const run of runs) {
      const found = await this.#store.find(run.key);
      if (found === undefined || !isSettled(found.manifest)) waiting.push(run);
      else this.#time(run, found.manifest.timing?.seconds);
    }
    for (const [i, run] of waiting.entries()) {
      if (this.#over()) return;
      const left = [...waiting.slice(i), ...later];
      this.#events.onProgress({
        done: runs.length - waiting.length + i,
        total: runs.length + later.length,
        secondsLeft: left.reduce((sum, r) => sum + this.#estimate(r), 0),
        now: describe(run),
      });
      await this.#carryOut(run);
    }
    if (this.#over()) return;
    for (const run of runs) if (run.stage !== 'sweep') await this.#scoreValidation(run);
  }

  #estimate(run: PlannedRun): number {
    return estimateSeconds(run, this.#timed, this.#parameters);
  }

  #time(run: PlannedRun, seconds: number | undefined): void {
    if (seconds !== undefined) this.#timed.push({ run, seconds });
  }

  async #carryOut(run: PlannedRun): Promise<void> {
    const found = await this.#store.find(run.key);
    const retry = found?.manifest.state === 'failed';
    const folder = found === undefined || retry ? await this.#create(run) : found.folder;
    const fresh = found === undefined || retry || found.manifest.state === 'created';
    const liveness = await checkLiveness(folder);
    if (liveness.kind === 'alive' || liveness.kind === 'unknown') {
      this.#fail(run, `another trainer works on ${folder.path}`);
      return;
    }
    const began = performance.now();
    const { code, json, errors } = await this.#dota([
      'train',
      folder.path,
      ...(fresh ? [] : ['--resume']),
      '--quiet',
    ]);
    const after = await this.#store.find(run.key);
    this.#time(run, (performance.now() - began) / 1000);
    if (after !== undefined && isSettled(after.manifest)) return;
    if (code === 75 && this.#stopped) return;
    const said = after?.manifest.error?.message ?? JSON.stringify(json?.error ?? errors.trim());
    this.#fail(run, `exit code ${code}: ${said}`);
  }

  async #create(run: PlannedRun): Promise<RunFolder> {
    const folder = await createRun(this.#store.runs, {
      name: describe(run),
      config: run.config,
      configDirectory: this.#store.folder,
      versions: await versions(),
    });
    await this.#store.assign(run.key, folder.id);
    return folder;
  }

  #fail(run: PlannedRun, message: string): void {
    this.#failed.add(run.key);
    this.#events.onFailure(run, message);
  }

  async #dota(args: string[]): ReturnType<typeof runDota> {
    try {
      return await runDota(args, (stop) => {
        this.#stopChild = stop;
      });
    } finally {
      this.#stopChild = undefined;
    }
  }

  /** Greedy accuracy on the validation split, which choices may look at as often as they like. */
  async #scoreValidation(run: PlannedRun): Promise<void> {
    const found = await this.#store.find(run.key);
    if (found?.manifest.state !== 'finished' || this.#over()) return;
    const scores = await readScores(found.folder);
    if (scores.validation !== undefined) return;
    const limit = this.#study.validation_rows;
    const score = await this.#score(run, found.folder, run.config.data.validation ?? '', limit);
    if (score !== undefined) await writeScores(found.folder, { ...scores, validation: score });
  }

  /** Each main run answers its test file once; the ledger says so before the file is opened. */
  async #scoreTests(main: readonly PlannedRun[]): Promise<number> {
    let scored = 0;
    for (const run of main) {
      const file = this.#study.tasks[run.task]?.test;
      const found = await this.#store.find(run.key);
      if (run.stage !== 'main' || file === undefined || found === undefined) continue;
      const scores = await readScores(found.folder);
      if (found.manifest.state !== 'finished' || scores.test !== undefined || this.#over())
        continue;
      const test = this.#context.resolve(file);
      const dataHash = await hashFile(test);
      await this.#store.openTest(this.#study, { key: run.key, run: found.folder.id, dataHash });
      const score = await this.#score(run, found.folder, test, undefined);
      if (score === undefined) continue;
      await writeScores(found.folder, { ...scores, test: { ...score, dataHash } });
      scored += 1;
    }
    return scored;
  }

  async #score(
    run: PlannedRun,
    folder: RunFolder,
    file: string,
    limit: number | undefined,
  ): Promise<{ correct: number; total: number } | undefined> {
    const { code, json, errors } = await this.#dota([
      ...['evaluate', folder.path, '--data', file, '--no-loss'],
      ...(limit === undefined ? [] : ['--limit', String(limit)]),
    ]);
    // A set of LLM-Adapters is answered by its protocol, and comes as one of several results.
    const [score = json] = (json?.['results'] as (typeof json)[] | undefined) ?? [];
    if (score !== undefined && isNumber(score.correct) && isNumber(score.total)) {
      return { correct: score.correct, total: score.total };
    }
    if (!this.#stopped) this.#fail(run, `scoring ended with ${code}: ${errors.trim()}`);
    return undefined;
  }

  async #outcome(all: readonly PlannedRun[], testScored: number): Promise<StudyOutcome> {
    const keys = [...new Set(all.map(({ key }) => key))];
    const found = await Promise.all(keys.map((key) => this.#store.find(key)));
    const done = found.filter((f) => f !== undefined && isSettled(f.manifest)).length;
    return {
      done,
      total: keys.length,
      failed: this.#failed.size,
      interrupted: this.#over() && done < keys.length,
      testScored,
    };
  }
}

/** Finished, or diverged: the same configuration would do the same again. */
export function isSettled(manifest: {
  state: string;
  error?: { code: string } | undefined;
}): boolean {
  return manifest.state === 'finished' || manifest.error?.code === 'train.nonFinite';
}

export function describe(run: PlannedRun): string {
  const what = run.ablation === undefined ? run.label : `${run.ablation}: ${run.label}`;
  const stage = run.stage === 'sweep' ? 'sweep, ' : '';
  return `${stage}${what}, ${run.task}, rate ${run.learningRate}, seed ${run.seed}`.slice(0, 120);
}

async function writeScores(folder: RunFolder, scores: RunScores): Promise<void> {
  await writeFileAtomic(path.resolve(scoresFile(folder)), `${JSON.stringify(scores)}\n`);
}
