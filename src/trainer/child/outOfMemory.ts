/** What a run does, or offers, when memory ran out. */
import type { SerializedError } from '../../protocol/errors';
import { isObject } from '../../protocol/guards';
import { smallerMicroBatch } from '../../protocol/microBatch';
import type { RunManifest } from '../../protocol/runFiles';

/**
 * Sequences at once to go on with by itself.
 * @returns undefined for another error, without `auto_find_batch_size`, and where one is too many
 */
export function automaticMicroBatch(
  manifest: RunManifest,
  { code }: SerializedError,
): number | undefined {
  if (code !== 'device.outOfMemory' || !findsBatchSize(manifest)) return undefined;
  return smallerMicroBatch(manifest);
}

function findsBatchSize({ config }: RunManifest): boolean {
  const training = isObject(config) ? config.training : undefined;
  return isObject(training) && training.auto_find_batch_size === true;
}

/** The error with what can be done about it in this run; any other error as it is. */
export function afterOutOfMemory(
  error: SerializedError,
  manifest: RunManifest,
  folder: string,
): SerializedError {
  if (error.code !== 'device.outOfMemory') return error;
  const smaller = smallerMicroBatch(manifest);
  const next =
    smaller === undefined
      ? 'One sequence at a time is too much already. Start a new run with a smaller max_length, ' +
        'gradient_checkpointing true, or load_in_4bit.'
      : `Resume with micro-batch ${smaller}; the batch of a step stays the same: ` +
        `dota train --resume ${folder} --micro-batch ${smaller}`;
  return { ...error, next };
}
