/**
 * `dota evaluate`: validation loss and accuracy of a run as its configuration has it. Greedy answers are
 * scored, unless sets, a task or adapters are named, or the configuration has test sets or a test file that
 * is one: those go by the protocol of `evaluateSets.ts`.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { prepareDataset } from '../../data/prepare';
import { TokenCache } from '../../data/tokenCache';
import { TensorCache } from '../../models/tensorCache';
import { DotaError } from '../../protocol/errors';
import type { Scoring } from '../../protocol/evaluation';
import { openGreedyAnswers } from '../evaluation/greedyAnswers';
import { findSets, namesSets } from '../evaluation/sets';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { enableGarbageCollection } from '../garbageCollection';
import { meanLoss } from '../loop';
import { resolveModel } from '../training/modelPath';
import { type LoadedCheckpoint, loadCheckpoint, restoreEngine } from '../training/checkpointFiles';
import { cacheFolder } from '../training/cacheFolder';
import { buildEngine, endTokens, openModel } from '../training/prepareModel';
import { type FileScore, scoreFile, type ScoreOptions } from '../training/scoreFile';
import { evaluationBatches } from '../training/stepBatches';
import { findTarget, type Target } from '../training/target';
import { peakRssMb } from '../peakMemory';
import { runEvaluateSets } from './evaluateSets';
import { positiveOption } from './options';
import { printJson, printLine } from './output';
import { ProgressLine } from './progressLine';

export interface EvaluateOptions {
  root: string;
  set: string[];
  /** `best`, `last`, `none` (the base model) or a step. */
  checkpoint: string;
  /** Files or folders. */
  data?: string[];
  task?: string;
  limit?: string;
  maxNewTokens?: string;
  batchSize?: string;
  /** `--no-loss`, `--no-accuracy` */
  loss: boolean;
  accuracy: boolean;
  json?: boolean;
  adapter: string[];
  compare?: boolean;
  scoring: Scoring;
  numBeams?: string;
  format?: 'text' | 'markdown' | 'latex';
  /** File that takes every answer, a JSON line each. */
  outputs?: string;
}

/** @throws DotaError */
export async function runEvaluate(what: string, options: EvaluateOptions): Promise<void> {
  if (await isModelFolder(what)) {
    await runEvaluateSets(what, requireData(options), undefined);
    return;
  }
  if (await wantsSets(options)) {
    const found = await findTarget(what, { ...options, checkpoint: 'none' });
    await runEvaluateSets(what, requireData(withOwnData(options, found)), found.run);
    return;
  }
  await ensureComputeEnvironment();
  enableGarbageCollection();
  const target = await findTarget(what, options);
  const own = withOwnData(options, target);
  const configured = options.data === undefined && target.config.data.test_sets !== undefined;
  if (options.accuracy && (configured || (await namesSets(own.data ?? [])))) {
    // Before hours of answers rather than in the middle of them.
    await findSets(requireData(own).data ?? [], undefined);
    // The loss first: of a long evaluation it is the part that is known at once.
    const { val_loss, val_tokens } = await evaluateRun(target, { ...options, accuracy: false });
    if (options.json !== true) printPlain({ val_loss });
    await runEvaluateSets(what, requireData(own), target.run, { val_loss, val_tokens });
    return;
  }
  const result = await evaluateRun(target, options);
  if (options.json === true) printJson(result);
  else printPlain(result);
}

/** What a run or configuration says of itself: validation loss, and greedy answers on one file. */
async function evaluateRun(target: Target, options: EvaluateOptions) {
  const limit = positiveOption('--limit', options.limit);
  const maxNewTokens = positiveOption('--max-new-tokens', options.maxNewTokens);
  const batchSize = positiveOption('--batch-size', options.batchSize);
  const started = performance.now();
  const line = new ProgressLine();
  const { config, directory } = target;
  const model = await openModel(config, directory);
  try {
    const checkpoint =
      target.checkpoint === undefined ? undefined : await loadCheckpoint(target.checkpoint);
    const loss = options.loss ? await validationLoss(target, model, checkpoint) : undefined;
    const file = options.data?.[0] ?? config.data.test ?? config.data.validation;
    const onProgress = (done: number, total: number): void => {
      line.progress({ phase: 'evaluating', step: 0, totalSteps: 0, epoch: 0, done, total });
    };
    const score =
      options.accuracy && file !== undefined
        ? await greedyScore(
            target,
            model,
            // As given on the command line, or relative to the configuration.
            options.data === undefined ? path.resolve(directory, file) : path.resolve(file),
            {
              eosTokenIds: endTokens(model),
              ...(limit === undefined ? {} : { limit }),
              ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
              ...(batchSize === undefined ? {} : { batchSize }),
              onProgress,
            },
          )
        : undefined;
    line.end();
    return {
      run: target.run?.path ?? null,
      checkpoint: checkpoint?.loop.step ?? null,
      val_loss: loss?.loss ?? null,
      val_tokens: loss?.lossTokens ?? null,
      /** How the answers were made; the protocol's sets are never scored here. */
      scoring: score === undefined ? null : 'greedy',
      accuracy: score?.accuracy ?? null,
      correct: score?.correct ?? null,
      total: score?.total ?? null,
      interval: score === undefined ? null : [score.interval.low, score.interval.high],
      unanswered: score?.unanswered ?? null,
      exact_match: score === undefined ? null : score.exact / score.total,
      seconds: (performance.now() - started) / 1000,
      peak_rss_mb: Math.round(peakRssMb()),
    };
  } finally {
    line.end();
    await model.close();
  }
}

/** Whether more is asked for than a run's own loss and greedy accuracy on one file. */
async function wantsSets(options: EvaluateOptions): Promise<boolean> {
  const { adapter, compare, scoring, numBeams, format, outputs, task, data = [] } = options;
  return (
    adapter.length > 0 ||
    data.length > 1 ||
    compare === true ||
    scoring !== 'generate' ||
    [numBeams, format, outputs, task].some((option) => option !== undefined) ||
    (await namesSets(data))
  );
}

/** Without `--data` the test sets, or the test file, of the run's own configuration. */
function withOwnData(options: EvaluateOptions, { config, directory }: Target): EvaluateOptions {
  if ((options.data ?? []).length > 0) return options;
  const { test_sets: sets, test, validation } = config.data;
  const own = sets ?? [test ?? validation].filter((file) => file !== undefined);
  return own.length === 0
    ? options
    : { ...options, data: own.map((file) => path.resolve(directory, file)) };
}

function requireData(options: EvaluateOptions): EvaluateOptions {
  if ((options.data ?? []).length > 0) return options;
  throw new DotaError('usage', 'There is nothing to evaluate on.', {
    next: 'Name files or a folder with --data; "dota tasks" says where the sets come from.',
  });
}

async function isModelFolder(what: string): Promise<boolean> {
  const config = path.join(resolveModel(what, process.cwd()), 'config.json');
  return stat(config).then(
    (info) => info.isFile(),
    () => false,
  );
}

type Model = Awaited<ReturnType<typeof openModel>>;

async function validationLoss(
  { config, directory, checkpoint: folder }: Target,
  model: Model,
  checkpoint: LoadedCheckpoint | undefined,
): Promise<{ loss: number; lossTokens: number } | undefined> {
  const data = await prepareDataset(config.data, model.tokenizer, {
    directory,
    seed: config.training.seed,
    cache: new TokenCache({
      cache: new TensorCache(cacheFolder(directory)),
      tokenizerHash: model.tokenizerHash,
    }),
  });
  const batches = evaluationBatches(data.validation, config, model.tokenizer);
  if (batches === undefined) return undefined;
  // Without a checkpoint the base model is asked, which is what every adapter is at step 0.
  const { engine } = await buildEngine(config, model, {
    shouldStop: () => false,
    baseOnly: checkpoint === undefined,
    ...(checkpoint === undefined ? {} : { initialCores: checkpoint.initialCores }),
  });
  try {
    if (folder !== undefined) await restoreEngine(folder, engine, { optimizer: false });
    return await meanLoss(engine, batches());
  } finally {
    await engine.dispose();
  }
}

async function greedyScore(
  target: Target,
  model: Model,
  file: string,
  options: ScoreOptions,
): Promise<FileScore> {
  const { answer, dispose } = await openGreedyAnswers(target, model);
  try {
    return await scoreFile(answer, model.tokenizer, target.config.data, file, options);
  } finally {
    await dispose();
  }
}

function printPlain(result: {
  val_loss: number | null;
  accuracy?: number | null;
  correct?: number | null;
  total?: number | null;
  exact_match?: number | null;
}): void {
  const { val_loss: loss, accuracy = null, exact_match: exact = null } = result;
  if (loss !== null) printLine(`validation loss ${loss.toFixed(4)}`);
  if (accuracy !== null && exact !== null) {
    const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
    printLine(
      `accuracy of greedy answers ${percent(accuracy)} (${result.correct ?? 0} of ` +
        `${result.total ?? 0}), exact match ${percent(exact)}`,
    );
  }
}
