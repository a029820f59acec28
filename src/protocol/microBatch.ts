/**
 * The micro-batch of a run: how many sequences are computed at once. It changes memory and, by the
 * order of sums, the last digits of the numbers, but not which sequences make up a step.
 */
import { isNumber, isObject } from './guards';
import type { RunManifest } from './runFiles';

type Batched = Pick<RunManifest, 'config' | 'microBatch'>;

/** Sequences that this run computes at once; undefined where its configuration doesn't say. */
export function microBatchOf({ config, microBatch }: Batched): number | undefined {
  const training = isObject(config) ? config.training : undefined;
  const size = isObject(training) ? training.per_device_train_batch_size : undefined;
  if (!isNumber(size) || !(size >= 1)) return undefined;
  return microBatch === undefined ? size : Math.min(size, microBatch);
}

/** What to try after memory ran out: half as many; undefined where it was one already. */
export function smallerMicroBatch(run: Batched): number | undefined {
  const current = microBatchOf(run);
  return current === undefined || current <= 1 ? undefined : Math.ceil(current / 2);
}
