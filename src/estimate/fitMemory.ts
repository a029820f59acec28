/** Chooses how a step is computed so that the estimate of its memory fits what there is. */
import { estimateTraining, type TrainingEstimate, type TrainingShape } from './estimateTraining';

export interface FitOptions {
  /** Undefined where nobody knows: then nothing is changed. */
  availableBytes: number | undefined;
  /** Of a GPU's largest buffer, which no tensor may pass; undefined where there is no limit. */
  bufferBytes?: number | undefined;
  /** `gradient_checkpointing`. */
  recompute: boolean | 'auto';
  /** `auto_find_batch_size`. */
  findBatchSize: boolean;
}

export interface Fit {
  /** Sequences computed at once, at most the shape's. */
  batch: number;
  recompute: boolean;
  estimate: TrainingEstimate;
  /** False where even the smallest way is estimated to need more than there is, in all or in one piece. */
  fits: boolean;
}

/** The estimate is held to 25 percent of what is measured. */
const margin = 1.25;
/**
 * Tokens at once below which a smaller micro-batch costs more than recomputation: costs that each pass
 * over the weights has weigh more (measured: 45 against 65 GFLOP per second and core at 128 and 512
 * tokens, a factor of 0.69; recomputation has 0.77).
 */
const efficientTokens = 512;

/**
 * The fastest way that fits: all sequences at once with activations kept; fewer sequences, while there
 * are enough tokens; recomputed activations; and at last fewer sequences still.
 * @throws DotaError `adapter.noTarget`, `adapter.shape`, `adapter.rank`
 */
export function fitMemory(shape: Omit<TrainingShape, 'recompute'>, options: FitOptions): Fit {
  const { availableBytes = Infinity, bufferBytes = Infinity } = options;
  const estimated = candidates(shape, options).map(({ batch, recompute }): Fit => {
    const accumulation = (shape.accumulation * shape.batch) / batch;
    const estimate = estimateTraining({ ...shape, batch, accumulation, recompute });
    const fits =
      margin * estimate.totalBytes <= availableBytes && estimate.largestTensorBytes <= bufferBytes;
    return { batch, recompute, estimate, fits };
  });
  const least = estimated.reduce((best, fit) =>
    fit.estimate.totalBytes < best.estimate.totalBytes ? fit : best,
  );
  return estimated.find(({ fits }) => fits) ?? least;
}

/** Fastest first. */
function candidates(
  { batch, sequence }: Pick<TrainingShape, 'batch' | 'sequence'>,
  { recompute, findBatchSize }: FitOptions,
): { batch: number; recompute: boolean }[] {
  const sizes = [batch];
  for (let size = batch; findBatchSize && size > 1;) sizes.push((size = Math.ceil(size / 2)));
  const large = sizes.filter((size, i) => i === 0 || size * sequence >= efficientTokens);
  const small = sizes.slice(large.length);
  const modes = recompute === 'auto' ? [false, true] : [recompute];
  return [large, small].flatMap((some) =>
    modes.flatMap((mode) => some.map((size) => ({ batch: size, recompute: mode }))),
  );
}
