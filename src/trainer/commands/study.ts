/** `dota study`: carries a study out, or shows what it would run, or reports what it has. */
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { countParameters, readModelConfig } from '../../models/config';
import { DotaError, ExitCode } from '../../protocol/errors';
import { runFileError, writeFileAtomic } from '../../runs/atomicFile';
import { RunLock } from '../../runs/lock';
import { randomHex } from '../../runs/ownerRecord';
import { runFolder } from '../../runs/runFolder';
import { parseStudy } from '../../study/parseStudy';
import { planMain, planSweep, type PlannedRun, type StudyContext } from '../../study/plan';
import { estimateSeconds, type TimedRun } from '../../study/estimate';
import { studyReport } from '../../study/report';
import { readStudy } from '../../study/results';
import { StudyStore } from '../../study/store';
import type { StudyConfig } from '../../study/studyConfig';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { describe, isSettled, StudyRunner, type StudyProgress } from '../study/studyRunner';
import { resolveModel } from '../training/modelPath';
import { duration, printJson, printLine, table } from './output';

export interface StudyOptions {
  dryRun?: boolean;
  /** Begin no further run after so many minutes. */
  minutes?: string;
  /** Write the report of what is there into this folder, and run nothing. */
  report?: string;
  /** Progress as JSON lines. */
  stream?: boolean;
  json?: boolean;
}

interface OpenStudy {
  study: StudyConfig;
  context: StudyContext;
  store: StudyStore;
  modelParameters: number;
}

/** @returns the exit code; @throws DotaError */
export async function runStudy(file: string, options: StudyOptions): Promise<ExitCode> {
  const open = await openStudy(file);
  if (options.dryRun === true) {
    await dryRun(open, options);
    return ExitCode.done;
  }
  if (options.report !== undefined) {
    await writeReport(open, path.resolve(options.report), options);
    return ExitCode.done;
  }
  return carryOut(open, options);
}

async function openStudy(file: string): Promise<OpenStudy> {
  const where = path.resolve(file);
  let text: string;
  try {
    text = await readFile(where, 'utf8');
  } catch (cause) {
    throw runFileError(cause, where);
  }
  const study = parseStudy(text, where);
  const directory = path.dirname(where);
  const named = [
    study.model,
    ...study.ablations.flatMap(({ variants }) =>
      Object.values(variants).flatMap(({ model }) => model ?? []),
    ),
  ];
  const models = new Map(
    await Promise.all(
      [...new Set(named)].map(
        async (model) => [model, await readModelConfig(resolveModel(model, directory))] as const,
      ),
    ),
  );
  const stem = path.basename(where).replace(/(\.dota-study)?\.json$/i, '');
  const base = models.get(study.model);
  return {
    study,
    context: { models, resolve: (name) => path.resolve(directory, name) },
    store: new StudyStore(path.resolve(directory, study.output_dir ?? `.dota/studies/${stem}`)),
    modelParameters: base === undefined ? 0 : countParameters(base),
  };
}

/** All runs, in order; main runs with any rate where the sweep has not chosen one. */
async function allRuns({ study, context, store }: OpenStudy): Promise<PlannedRun[]> {
  const { rates } = await readStudy(study, context, store);
  const rateOf = (method: string): number =>
    rates.get(method)?.rate ?? study.learning_rates[0] ?? 1;
  const chosen = new Map(Object.keys(study.methods).map((m) => [m, rateOf(m)]));
  return [...planSweep(study, context), ...planMain(study, context, chosen)];
}

async function dryRun(open: OpenStudy, options: StudyOptions): Promise<void> {
  const timed: TimedRun[] = [];
  const states = new Map<string, boolean>();
  const runs = await allRuns(open);
  for (const run of runs) {
    const found = await open.store.find(run.key);
    const done = found !== undefined && isSettled(found.manifest);
    states.set(run.key, done);
    const seconds = found?.manifest.timing?.seconds;
    if (done && seconds !== undefined) timed.push({ run, seconds });
  }
  const rows = runs.map((run) => ({
    key: run.key,
    stage: run.stage,
    name: describe(run),
    r: run.config.method === 'full' ? null : run.config.adapter.r,
    done: states.get(run.key) === true,
    seconds: states.get(run.key) === true ? 0 : estimateSeconds(run, timed, open.modelParameters),
  }));
  const left = rows.reduce((sum, { seconds }) => sum + seconds, 0);
  const done = rows.filter((row) => row.done).length;
  if (options.json === true) {
    printJson({
      runs: rows,
      done,
      total: rows.length,
      seconds_left: left,
      measured: timed.length > 0,
    });
    return;
  }
  const head = ['STAGE', 'STATE', 'R', 'TIME', 'RUN'];
  const lines = rows.map((row) => [
    row.stage,
    row.done ? 'done' : 'to do',
    row.r === null ? '-' : String(row.r),
    row.done ? '-' : duration(row.seconds),
    row.name,
  ]);
  printLine(table([head, ...lines]));
  const basis =
    timed.length > 0 ? 'from the runs that are done' : 'a rough guess before the first run';
  printLine(`${rows.length} runs, ${done} done; about ${duration(left)} left (${basis}).`);
}

async function carryOut(open: OpenStudy, options: StudyOptions): Promise<ExitCode> {
  const minutes = options.minutes === undefined ? Infinity : Number(options.minutes);
  if (!(minutes > 0)) {
    throw new DotaError(
      'usage',
      `--minutes needs a positive number, got "${options.minutes ?? ''}".`,
    );
  }
  await ensureComputeEnvironment();
  const { store } = open;
  await store.prepare();
  // The same lock as a run's: two starts of one study would run everything twice.
  const lock = await RunLock.acquire(runFolder(store.folder), '', randomHex(32));
  const runner = new StudyRunner({
    ...open,
    seconds: minutes * 60,
    events: {
      onProgress: (progress) => {
        showProgress(progress, options);
      },
      onFailure: (run, message) => {
        process.stderr.write(`dota: ${describe(run)}: ${message}\n`);
      },
    },
  });
  const beat = setInterval(() => void lock.beat(), 5000);
  const stop = (): void => {
    process.stderr.write('Stopping with a checkpoint; a second start goes on …\n');
    runner.stop();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  try {
    const outcome = await runner.run();
    if (options.json === true) printJson({ folder: store.folder, ...outcome });
    else {
      printLine(
        `${outcome.done} of ${outcome.total} runs done` +
          `${outcome.failed === 0 ? '' : `, ${outcome.failed} failed`}; ${store.folder}`,
      );
    }
    if (outcome.interrupted) return ExitCode.resumable;
    return outcome.failed === 0 ? ExitCode.done : ExitCode.badInput;
  } finally {
    clearInterval(beat);
    await lock.release();
  }
}

function showProgress(progress: StudyProgress, options: StudyOptions): void {
  const { done, total, secondsLeft, now } = progress;
  if (options.stream === true) printJson({ progress });
  else process.stderr.write(`[${done + 1}/${total}, ${duration(secondsLeft)} left] ${now}\n`);
}

async function writeReport(open: OpenStudy, folder: string, options: StudyOptions): Promise<void> {
  const results = await readStudy(open.study, open.context, open.store);
  const { markdown, figures } = studyReport(results, 'study');
  const file = path.join(folder, 'study.md');
  try {
    await mkdir(path.join(folder, 'study'), { recursive: true });
    await writeFileAtomic(file, markdown);
    for (const [name, svg] of figures) await writeFileAtomic(path.join(folder, 'study', name), svg);
  } catch (cause) {
    throw runFileError(cause, folder);
  }
  if (options.json === true) printJson({ report: file, figures: [...figures.keys()] });
  else printLine(file);
}
