/**
 * Carries a study out, several runs side by side: the sweep, the choice of rates, main runs and
 * ablations, each scored as soon as it is trained. It can be ended at any time; what is done stands in
 * the results and is not done again.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { hashFile } from '../../data/prepare';
import { indexFileName, singleFileName } from '../../models/safetensors/modelWeights';
import { readCompareRun } from '../../runs/compareRuns';
import { checkLiveness } from '../../runs/liveness';
import { createRun } from '../../runs/runStore';
import { estimateSeconds, type TimedRun } from '../../study/estimate';
import { describe, needsTest, planMain, planSweep } from '../../study/plan';
import type { PlannedRun, StudyContext } from '../../study/plan';
import { recordOf, type StudyRecord } from '../../study/record';
import { isDone, ratesOnly, sweptRates, uniqueRuns } from '../../study/results';
import type { ResultsFile } from '../../study/resultsFile';
import { hasDiverged, isSettled, type FoundRun, type StudyStore } from '../../study/store';
import type { StudyConfig } from '../../study/studyConfig';
import { versions } from '../commands/versions';
import { resolveModel } from '../training/modelPath';
import { runDota } from './childCommand';
import { scoreIn, scoringCommand, type Score } from './scoring';
import { testHashes } from './testFiles';

export interface StudyProgress {
  /** Runs done, and in all (as far as it is known before the sweep is over). */
  done: number;
  total: number;
  secondsLeft: number;
  /** What begins now. */
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
  /** Runs whose base model has no weights yet; everything else went on. */
  waiting: number;
  /** Stopped by signal or by the time given; a second start goes on. */
  interrupted: boolean;
  /** Test scores taken in this sitting. */
  testScored: number;
}

export interface StudyRunnerOptions {
  study: StudyConfig;
  context: StudyContext;
  store: StudyStore;
  results: ResultsFile;
  events: StudyEvents;
  /** No run is begun after so many seconds. */
  seconds: number;
  /** Runs side by side. */
  jobs: number;
  /** Size of a run's base model. */
  parametersOf: (run: PlannedRun) => number;
}

export class StudyRunner {
  readonly #options: StudyRunnerOptions;
  readonly #deadline: number;
  readonly #timed: TimedRun[] = [];
  readonly #failed = new Set<string>();
  readonly #stops = new Set<() => void>();
  #stopped = false;
  #testScored = 0;

  constructor(options: StudyRunnerOptions) {
    this.#options = options;
    this.#deadline = performance.now() + 1000 * options.seconds;
  }

  /** Ends after the runs at hand have saved a checkpoint. */
  stop(): void {
    this.#stopped = true;
    for (const stop of this.#stops) stop();
  }

  /** @throws DotaError of the disk; `file.missing` for a test file; `study.changed` */
  async run(): Promise<StudyOutcome> {
    const { study, context, results } = this.#options;
    results.checkDesign(study, await testHashes(study, context));
    const sweep = planSweep(study, context);
    // Before the rates are known, main runs are counted with any of them.
    const guess = Object.keys(study.methods).map((m) => [m, study.learning_rates[0] ?? 1] as const);
    const guessed = planMain(study, context, new Map(guess));
    await this.#runAll(sweep, guessed);
    const rates = ratesOnly(sweptRates(study, sweep, results));
    const every = Object.keys(study.methods).every((method) => rates.has(method));
    if (!every || this.#over()) return this.#outcome([...guessed, ...sweep]);
    const main = planMain(study, context, rates);
    await this.#runAll(main, []);
    return this.#outcome([...main, ...sweep]);
  }

  #over(): boolean {
    return this.#stopped || performance.now() > this.#deadline;
  }

  /** @param later runs that follow, for the estimate */
  async #runAll(runs: readonly PlannedRun[], later: readonly PlannedRun[]): Promise<void> {
    const { study, results, jobs, events } = this.#options;
    const all = uniqueRuns(runs);
    const known = new Set(all.map(({ key }) => key));
    const rest = uniqueRuns(later).filter(({ key }) => !known.has(key));
    const open: PlannedRun[] = [];
    for (const run of all) {
      const record = results.find(run.key);
      if (record !== undefined) this.#timed.push({ run, seconds: record.seconds });
      if (!isDone(study, run, results) && (await hasBaseModel(run))) open.push(run);
    }
    let next = 0;
    const work = async (): Promise<void> => {
      for (let i = next++; i < open.length && !this.#over(); i = next++) {
        const left = [...open.slice(i), ...rest];
        const seconds = left.reduce((sum, run) => sum + this.#estimate(run), 0);
        const run = open[i] as PlannedRun;
        events.onProgress({
          done: all.length - open.length + i,
          total: all.length + rest.length,
          secondsLeft: seconds / jobs,
          now: describe(run),
        });
        await this.#carryOut(run);
      }
    };
    await Promise.all(Array.from({ length: jobs }, work));
  }

  #estimate(run: PlannedRun): number {
    return estimateSeconds(run, this.#timed, this.#options.parametersOf);
  }

  /** Trains and scores one run, as far as that is not done. */
  async #carryOut(run: PlannedRun): Promise<void> {
    const { results } = this.#options;
    const began = performance.now();
    const found = await this.#trained(run);
    if (found === undefined) return;
    // What an earlier sitting measured stays: the rates were chosen by it.
    let record = results.find(run.key);
    if (record === undefined) {
      const compared = await readCompareRun(found.folder);
      const outcome = hasDiverged(found.manifest) ? 'diverged' : 'finished';
      record = recordOf(run, compared, outcome, found.manifest.timing?.seconds ?? 0);
      await results.put(record);
    }
    if (record.outcome === 'finished') await this.#addScores(run, found, record);
    this.#timed.push({ run, seconds: (performance.now() - began) / 1000 });
  }

  /** The run's folder once its training is settled; undefined where it was stopped or has failed. */
  async #trained(run: PlannedRun): Promise<FoundRun | undefined> {
    const { store } = this.#options;
    let found = await store.find(run.key);
    if (found !== undefined && isSettled(found.manifest)) return found;
    if (found === undefined || found.manifest.state === 'failed') found = await this.#create(run);
    const { folder, manifest } = found;
    const liveness = await checkLiveness(folder);
    if (liveness.kind === 'alive' || liveness.kind === 'unknown') {
      this.#fail(run, `another trainer works on ${folder.path}`);
      return undefined;
    }
    const resume = manifest.state === 'created' ? [] : ['--resume'];
    const { code, json, errors } = await this.#dota(['train', folder.path, ...resume, '--quiet']);
    const after = await store.find(run.key);
    if (after !== undefined && isSettled(after.manifest)) return after;
    if (code !== 75 || !this.#stopped) {
      const said = after?.manifest.error?.message ?? JSON.stringify(json?.error ?? errors.trim());
      this.#fail(run, `exit code ${code}: ${said}`);
    }
    return undefined;
  }

  async #create(run: PlannedRun): Promise<FoundRun> {
    const { store } = this.#options;
    const folder = await createRun(store.runs, {
      name: describe(run),
      config: run.config,
      configDirectory: store.folder,
      versions: await versions(),
    });
    await store.assign(run.key, folder.id);
    const found = await store.find(run.key);
    if (found === undefined) throw new Error(`${folder.path} is gone`);
    return found;
  }

  /**
   * Greedy accuracy: on the validation split, which choices may look at as often as they like, and for
   * main runs once on the test split. All rates are chosen by then, so that nothing can follow from it.
   */
  async #addScores(run: PlannedRun, { folder }: FoundRun, trained: StudyRecord): Promise<void> {
    const { study, context, results } = this.#options;
    if (run.stage === 'sweep' || this.#over()) return;
    const began = performance.now();
    let record = trained;
    const keep = async (scores: Partial<StudyRecord>): Promise<void> => {
      const seconds = trained.seconds + (performance.now() - began) / 1000;
      record = { ...record, ...scores, seconds: Math.round(1000 * seconds) / 1000 };
      await results.put(record);
    };
    if (record.validation === undefined) {
      const file = run.config.data.validation ?? '';
      const validation = await this.#score(run, folder.path, file, study.validation_rows);
      if (validation === undefined) return;
      await keep({ validation });
    }
    const file = study.tasks[run.task]?.test;
    if (file === undefined || !needsTest(study, run) || this.#over()) return;
    if (results.testScore(study, run) !== undefined) return;
    const test = context.resolve(file);
    const dataHash = await hashFile(test);
    await results.openTest(study, run, dataHash);
    const score = await this.#score(run, folder.path, test, undefined);
    if (score === undefined) return;
    await keep({ test: { ...score, dataHash } });
    this.#testScored += 1;
  }

  async #score(
    run: PlannedRun,
    folder: string,
    file: string,
    limit: number | undefined,
  ): Promise<Score | undefined> {
    const parameters = this.#options.parametersOf(run);
    const result = await this.#dota(scoringCommand(folder, file, limit, parameters));
    const score = scoreIn(result);
    if (score === undefined && !this.#stopped) {
      this.#fail(run, `scoring ended with ${result.code}: ${result.errors.trim()}`);
    }
    return score;
  }

  #fail(run: PlannedRun, message: string): void {
    this.#failed.add(run.key);
    this.#options.events.onFailure(run, message);
  }

  async #dota(args: string[]): ReturnType<typeof runDota> {
    let own: (() => void) | undefined;
    try {
      return await runDota(args, (stop) => {
        own = stop;
        this.#stops.add(stop);
      });
    } finally {
      if (own !== undefined) this.#stops.delete(own);
    }
  }

  async #outcome(planned: readonly PlannedRun[]): Promise<StudyOutcome> {
    const { study, results } = this.#options;
    const all = uniqueRuns(planned);
    const open = all.filter((run) => !isDone(study, run, results));
    const ready = await Promise.all(open.map(hasBaseModel));
    const waiting = ready.filter((is) => !is).length;
    return {
      done: all.length - open.length,
      total: all.length,
      failed: this.#failed.size,
      waiting,
      interrupted: this.#over() && open.length > waiting,
      testScored: this.#testScored,
    };
  }
}

/** A base model whose configuration is there but not its weights is still to be made. */
export async function hasBaseModel({ config, declared }: PlannedRun): Promise<boolean> {
  if (declared.model_init !== 'pretrained') return true;
  const folder = resolveModel(config.model, '.');
  const isFile = (name: string): Promise<boolean> =>
    stat(path.join(folder, name)).then(
      (info) => info.isFile(),
      () => false,
    );
  return (await isFile(singleFileName)) || isFile(indexFileName);
}
