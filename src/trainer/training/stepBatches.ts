/** From a tokenized set to the micro-batches of each optimizer step. */
import type { RunConfig } from '../../config/runConfig';
import { BatchPlan } from '../../data/batches';
import type { TokenizedSet } from '../../data/tokenizedSet';
import type { Tokenizer } from '../../models/tokenizer';
import { splitBatch } from '../../data/batch';
import type { Batch } from '../engine';
import type { TrainingBatches } from '../loop';

/** Any id serves: attention and loss leave padding out. */
function padId(tokenizer: Pick<Tokenizer, 'padTokenId' | 'eosTokenId'>): number {
  return tokenizer.padTokenId ?? tokenizer.eosTokenId ?? 0;
}

export interface RunBatches extends TrainingBatches {
  /** Lengths that sequences are padded to. */
  paddedLengths: ReadonlySet<number>;
}

/**
 * Batches of training, a pure function of the step.
 * @param microBatch sequences at once, at most; batches above it come in parts
 */
export function trainingBatches(
  set: TokenizedSet,
  config: RunConfig,
  tokenizer: Tokenizer,
  microBatch = Infinity,
): RunBatches {
  const { training, data } = config;
  const plan = new BatchPlan(set, {
    batchSize: training.per_device_train_batch_size,
    seed: training.seed,
    shuffle: true,
    groupByLength: training.group_by_length,
    packing: data.packing,
    maxLength: data.max_length,
    padTokenId: padId(tokenizer),
  });
  const accumulation = training.gradient_accumulation_steps;
  const perEpoch = plan.batchesPerEpoch;
  // As in the Trainer, the last step of an epoch takes the batches that are left.
  const stepsPerEpoch = Math.ceil(perEpoch / accumulation);
  return {
    stepsPerEpoch,
    paddedLengths: plan.paddedLengths,
    step(n) {
      const epoch = Math.floor((n - 1) / stepsPerEpoch);
      const first = ((n - 1) % stepsPerEpoch) * accumulation;
      const count = Math.min(accumulation, perEpoch - first);
      const whole = Array.from({ length: count }, (_, i) => plan.batch(epoch, first + i));
      return whole.flatMap((batch) => splitBatch(batch, microBatch));
    },
  };
}

/** The first micro-batches of training, at most as many as an epoch has. */
export function firstBatches(batches: TrainingBatches, count: number): Batch[] {
  const first: Batch[] = [];
  for (let n = 1; n <= batches.stepsPerEpoch && first.length < count; n++) {
    first.push(...batches.step(n));
  }
  return first.slice(0, count);
}

/** Batches of an evaluation: the same at every call, rows of similar length together. */
export function evaluationBatches(
  set: TokenizedSet,
  config: RunConfig,
  tokenizer: Tokenizer,
  microBatch = Infinity,
): (() => Iterable<Batch>) | undefined {
  if (set.length === 0) return undefined;
  const plan = new BatchPlan(set, {
    batchSize: config.training.per_device_eval_batch_size,
    seed: config.training.seed,
    shuffle: false,
    groupByLength: true,
    packing: config.data.packing,
    maxLength: config.data.max_length,
    padTokenId: padId(tokenizer),
  });
  return function* batches() {
    for (let i = 0; i < plan.batchesPerEpoch; i += 1) {
      yield* splitBatch(plan.batch(0, i), microBatch);
    }
  };
}

/** Optimizer steps of the whole run. */
export function totalSteps(training: RunConfig['training'], stepsPerEpoch: number): number {
  return training.max_steps > 0
    ? training.max_steps
    : Math.max(1, Math.ceil(training.num_train_epochs * stepsPerEpoch));
}
