/** `dota study`: carries a study out, or shows what it would run, or reports what it has. */
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { countParameters, readModelConfig } from '../../models/config';
import { DotaError, ExitCode } from '../../protocol/errors';
import { runFileError, writeFileAtomic } from '../../runs/atomicFile';
import { RunLock } from '../../runs/lock';
import { randomHex } from '../../runs/ownerRecord';
import { runFolder } from '../../runs/runFolder';
import { estimateSeconds, type TimedRun } from '../../study/estimate';
import { parseStudy } from '../../study/parseStudy';
import { describe, planMain, planSweep } from '../../study/plan';
import type { PlannedRun, StudyContext } from '../../study/plan';
import { comparisonOfStudy, studyReport } from '../../study/report';
import { isDone, ratesOnly, readStudy, sweptRates, uniqueRuns } from '../../study/results';
import { ResultsFile } from '../../study/resultsFile';
import { StudyStore } from '../../study/store';
import type { StudyConfig } from '../../study/studyConfig';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { defaultJobs } from '../study/jobs';
import { hasBaseModel, StudyRunner, type StudyProgress } from '../study/studyRunner';
import { testHashes } from '../study/testFiles';
import { resolveModel } from '../training/modelPath';
import { requireRuntime } from '../training/runtimeBinary';
import { positiveOption } from './options';
import { duration, printJson, printLine, table } from './output';

export interface StudyOptions {
  dryRun?: boolean;
  /** Begin no further run after so many minutes. */
  minutes?: string;
  /** Runs side by side. */
  jobs?: string;
  /** Forget the results that are there and carry everything out again. */
  fresh?: boolean;
  /** Write the report of what is there into this folder, and run nothing. */
  report?: string;
  /** Print the results that are there, as the compare panel takes them, and run nothing. */
  results?: boolean;
  /** Progress as JSON lines. */
  stream?: boolean;
  json?: boolean;
}

interface OpenStudy {
  study: StudyConfig;
  context: StudyContext;
  store: StudyStore;
  results: ResultsFile;
  parametersOf: (run: PlannedRun) => number;
  /** Of the largest base model. */
  largestModel: number;
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
  if (options.results === true) {
    printJson(comparisonOfStudy(readStudy(open.study, open.context, open.results)));
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
  const folder = path.resolve(directory, study.output_dir ?? `.dota/studies/${stem}`);
  const sizes = new Map([...models].map(([name, config]) => [name, countParameters(config)]));
  return {
    study,
    context: { models, resolve: (name) => path.resolve(directory, name) },
    store: new StudyStore(folder),
    results: await ResultsFile.open(
      study.results === undefined
        ? path.join(folder, 'results.jsonl')
        : path.resolve(directory, study.results),
    ),
    parametersOf: ({ declared }) => sizes.get(declared.model) ?? 0,
    largestModel: Math.max(...sizes.values()),
  };
}

/** All runs, in order; main runs with any rate where the sweep has not chosen one. */
function allRuns({ study, context, results }: OpenStudy): PlannedRun[] {
  const sweep = planSweep(study, context);
  const rates = ratesOnly(sweptRates(study, sweep, results));
  const chosen = Object.keys(study.methods).map(
    (method) => [method, rates.get(method) ?? study.learning_rates[0] ?? 1] as const,
  );
  const main = planMain(study, context, new Map(chosen));
  // A main run that is one of the sweep is listed as what asks more of it.
  const keys = new Set(main.map(({ key }) => key));
  return [...sweep.filter(({ key }) => !keys.has(key)), ...uniqueRuns(main)];
}

function jobsOf({ study, largestModel }: OpenStudy, options: StudyOptions): number {
  return positiveOption('--jobs', options.jobs) ?? defaultJobs(study, largestModel);
}

/** The rank that sizes the adapters. */
function sizeOf({ method, adapter }: PlannedRun['config']): number | null {
  if (method === 'full') return null;
  return method === 'loretta' ? adapter.tensor_rank : adapter.r;
}

async function dryRun(open: OpenStudy, options: StudyOptions): Promise<void> {
  const { study, results, parametersOf } = open;
  const runs = allRuns(open);
  const timed: TimedRun[] = runs.flatMap((run) => {
    const record = results.find(run.key);
    return record === undefined ? [] : [{ run, seconds: record.seconds }];
  });
  const rows = await Promise.all(
    runs.map(async (run) => {
      const done = isDone(study, run, results);
      return {
        key: run.key,
        stage: run.stage,
        name: describe(run),
        r: sizeOf(run.config),
        done,
        // Its weights are to be made first.
        waits_for: done || (await hasBaseModel(run)) ? null : run.config.model,
        seconds: done ? 0 : estimateSeconds(run, timed, parametersOf),
      };
    }),
  );
  const jobs = jobsOf(open, options);
  const left = rows.reduce((sum, { seconds }) => sum + seconds, 0) / jobs;
  const done = rows.filter((row) => row.done).length;
  if (options.json === true) {
    printJson({
      runs: rows,
      ...{ done, total: rows.length, jobs },
      seconds_left: left,
      measured: timed.length > 0,
    });
    return;
  }
  const head = ['STAGE', 'STATE', 'R', 'TIME', 'RUN'];
  const lines = rows.map((row) => [
    row.stage,
    row.done ? 'done' : row.waits_for === null ? 'to do' : 'no model',
    row.r === null ? '-' : String(row.r),
    row.done ? '-' : duration(row.seconds),
    row.name,
  ]);
  printLine(table([head, ...lines]));
  const basis =
    timed.length > 0 ? 'from the runs that are done' : 'a rough guess before the first run';
  const beside = jobs === 1 ? '' : `, ${jobs} side by side`;
  printLine(`${rows.length} runs, ${done} done; about ${duration(left)} left${beside} (${basis}).`);
}

async function carryOut(open: OpenStudy, options: StudyOptions): Promise<ExitCode> {
  const minutes = options.minutes === undefined ? Infinity : Number(options.minutes);
  if (!(minutes > 0)) {
    throw new DotaError(
      'usage',
      `--minutes needs a positive number, got "${options.minutes ?? ''}".`,
    );
  }
  requireRuntime();
  await ensureComputeEnvironment();
  const { store, results } = open;
  const jobs = jobsOf(open, options);
  await store.prepare();
  // The same lock as a run's: two starts of one study would run everything twice.
  const lock = await RunLock.acquire(runFolder(store.folder), '', randomHex(32));
  const runner = new StudyRunner({
    ...open,
    seconds: minutes * 60,
    jobs,
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
    if (options.fresh === true) {
      // Not a way around the design that the test split has fixed.
      results.checkDesign(open.study, await testHashes(open.study, open.context));
      await results.forgetRuns();
      await store.clear();
    }
    const outcome = await runner.run();
    if (options.json === true) printJson({ folder: store.folder, ...outcome });
    else {
      printLine(
        `${outcome.done} of ${outcome.total} runs done` +
          `${outcome.failed === 0 ? '' : `, ${outcome.failed} failed`}` +
          `${outcome.waiting === 0 ? '' : `, ${outcome.waiting} wait for their base model`}` +
          `; ${results.file}`,
      );
    }
    if (outcome.interrupted) return ExitCode.resumable;
    return outcome.failed + outcome.waiting === 0 ? ExitCode.done : ExitCode.badInput;
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
  const results = readStudy(open.study, open.context, open.results);
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
