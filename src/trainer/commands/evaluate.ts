/** `dota evaluate`: validation loss and greedy accuracy of a model or of a run. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { runConfigSchema, type RunConfig } from '../../config/runConfig';
import { prepareDataset } from '../../data/prepare';
import { TokenCache } from '../../data/tokenCache';
import { TensorCache } from '../../models/tensorCache';
import { DotaError } from '../../protocol/errors';
import {
  checkpointPath,
  listCheckpoints,
  newestGoodCheckpoint,
  verifyCheckpoint,
} from '../../runs/checkpoints';
import { readManifest } from '../../runs/manifest';
import type { RunFolder } from '../../runs/runFolder';
import { findRun } from '../../runs/runStore';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { enableGarbageCollection } from '../garbageCollection';
import { meanLoss } from '../loop';
import { loadCheckpoint, restoreEngine } from '../training/checkpointFiles';
import { buildEngine, cacheFolder, endTokens, openModel } from '../training/prepareModel';
import { scoreFile } from '../training/scoreFile';
import { evaluationBatches } from '../training/stepBatches';
import { printJson, printLine } from './output';
import { ProgressLine } from './progressLine';
import { loadRunConfig } from './runConfigFile';

export interface EvaluateOptions {
  root: string;
  set: string[];
  /** `best`, `last`, `none` (the base model) or a step. */
  checkpoint: string;
  data?: string;
  task?: string;
  limit?: string;
  maxNewTokens?: string;
  batchSize?: string;
  /** `--no-loss`, `--no-accuracy` */
  loss: boolean;
  accuracy: boolean;
  json?: boolean;
}

export interface Target {
  config: RunConfig;
  directory: string;
  run: RunFolder | undefined;
  /** Folder of a verified checkpoint. */
  checkpoint: string | undefined;
}

/** @throws DotaError */
export async function runEvaluate(what: string, options: EvaluateOptions): Promise<void> {
  const limit = positive('--limit', options.limit);
  const maxNewTokens = positive('--max-new-tokens', options.maxNewTokens);
  const batchSize = positive('--batch-size', options.batchSize);
  await ensureComputeEnvironment();
  enableGarbageCollection();
  const started = performance.now();
  const line = new ProgressLine();
  const target = await findTarget(what, options);
  const { config, directory } = target;
  const model = await openModel(config, directory);
  try {
    const checkpoint =
      target.checkpoint === undefined ? undefined : await loadCheckpoint(target.checkpoint);
    // Without a checkpoint the base model is asked, which is what every adapter is at step 0.
    const { engine } = await buildEngine(config, model, {
      shouldStop: () => false,
      baseOnly: checkpoint === undefined,
      ...(checkpoint === undefined ? {} : { initialCores: checkpoint.initialCores }),
    });
    if (target.checkpoint !== undefined) {
      await restoreEngine(target.checkpoint, engine, { optimizer: false });
    }
    const loss = options.loss ? await validationLoss(target, model, engine) : undefined;
    const file = options.data ?? config.data.test ?? config.data.validation;
    const score =
      options.accuracy && file !== undefined
        ? await scoreFile(
            engine,
            model.tokenizer,
            config.data,
            // As given on the command line, or relative to the configuration.
            options.data === undefined ? path.resolve(directory, file) : path.resolve(file),
            {
              eosTokenIds: endTokens(model),
              ...(options.task === undefined ? {} : { task: options.task }),
              ...(limit === undefined ? {} : { limit }),
              ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
              ...(batchSize === undefined ? {} : { batchSize }),
              onProgress: (done, total) => {
                line.progress({
                  phase: 'evaluating',
                  step: 0,
                  totalSteps: 0,
                  epoch: 0,
                  done,
                  total,
                });
              },
            },
          )
        : undefined;
    line.end();
    await engine.dispose();
    const result = {
      run: target.run?.path ?? null,
      checkpoint: checkpoint?.loop.step ?? null,
      val_loss: loss?.loss ?? null,
      val_tokens: loss?.lossTokens ?? null,
      accuracy: score?.accuracy ?? null,
      correct: score?.correct ?? null,
      total: score?.total ?? null,
      interval: score === undefined ? null : [score.interval.low, score.interval.high],
      unanswered: score?.unanswered ?? null,
      exact_match: score === undefined ? null : score.exact / score.total,
      seconds: (performance.now() - started) / 1000,
      peak_rss_mb: Math.round(process.resourceUsage().maxRSS / 1024),
    };
    if (options.json === true) printJson(result);
    else printPlain(result);
  } finally {
    line.end();
    await model.close();
  }
}

type Model = Awaited<ReturnType<typeof openModel>>;
type BuiltEngine = Awaited<ReturnType<typeof buildEngine>>['engine'];

async function validationLoss(
  { config, directory }: Target,
  model: Model,
  engine: BuiltEngine,
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
  return batches === undefined ? undefined : meanLoss(engine, batches());
}

/** A configuration file means its base model; a run its checkpoint. */
export async function findTarget(
  what: string,
  options: Pick<EvaluateOptions, 'root' | 'set' | 'checkpoint'>,
): Promise<Target> {
  const info = await stat(path.resolve(what)).catch(() => undefined);
  if (info?.isFile() === true) {
    const { config, directory } = await loadRunConfig(what, options.set);
    return { config, directory, run: undefined, checkpoint: undefined };
  }
  const run = await findRun(options.root, what);
  const manifest = await readManifest(run);
  const parsed = runConfigSchema.safeParse(manifest.config);
  if (!parsed.success) {
    throw new DotaError('run.corrupt', 'The run’s configuration cannot be used.', {
      where: run.manifest,
      next: 'Start a new run.',
    });
  }
  const best = manifest.best?.step;
  return {
    config: parsed.data,
    directory: manifest.configDirectory,
    run,
    checkpoint: await chooseCheckpoint(run, options.checkpoint, best),
  };
}

async function chooseCheckpoint(
  run: RunFolder,
  wanted: string,
  best: number | undefined,
): Promise<string | undefined> {
  if (wanted === 'none') return undefined;
  if (wanted === 'last' || (wanted === 'best' && best === undefined)) {
    const { checkpoint } = await newestGoodCheckpoint(run);
    if (checkpoint !== undefined) return checkpoint.path;
    throw noCheckpoint(run, wanted, []);
  }
  const step = wanted === 'best' ? (best ?? 0) : Number(wanted);
  const all = await listCheckpoints(run);
  // The base model itself was best, before the first step.
  if (wanted === 'best' && step === 0) return undefined;
  if (!all.some((checkpoint) => checkpoint.step === step)) {
    throw noCheckpoint(
      run,
      wanted,
      all.map((checkpoint) => checkpoint.step),
    );
  }
  const chosen = { step, path: checkpointPath(run, step) };
  await verifyCheckpoint(run, chosen);
  return chosen.path;
}

function noCheckpoint(run: RunFolder, wanted: string, there: readonly number[]): DotaError {
  return new DotaError('file.missing', `The run has no checkpoint "${wanted}".`, {
    where: run.checkpoints,
    next:
      there.length === 0
        ? 'It has none at all; "--checkpoint none" evaluates the base model.'
        : `There are: ${there.join(', ')}.`,
  });
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new DotaError('usage', `${name} needs a positive number, got "${text}".`);
  }
  return value;
}

function printPlain(result: {
  val_loss: number | null;
  accuracy: number | null;
  correct: number | null;
  total: number | null;
  exact_match: number | null;
}): void {
  if (result.val_loss !== null) printLine(`validation loss ${result.val_loss.toFixed(4)}`);
  if (result.accuracy !== null && result.exact_match !== null) {
    const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
    printLine(
      `accuracy ${percent(result.accuracy)} (${result.correct ?? 0} of ${result.total ?? 0}), ` +
        `exact match ${percent(result.exact_match)}`,
    );
  }
}
