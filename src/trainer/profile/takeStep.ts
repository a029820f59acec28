/** One optimizer step as the loop takes it, without the loop's schedule, records and checks. */
import type { Batch, Engine } from '../engine';

export interface TakenStep {
  /** Mean negative log-likelihood in nats over the labels of all micro-batches. */
  loss: number;
  gradNorm: number;
}

/**
 * Forward and backward of the micro-batches and an update with AdamW's usual settings, clipped at 1.
 * @param step from 1
 * @param rates by default nothing is learned; the arithmetic is the same
 */
export async function takeStep(
  engine: Engine,
  batches: readonly Batch[],
  step: number,
  { learningRate = 0, weightDecay = 0 } = {},
): Promise<TakenStep> {
  const lossTokens = batches.reduce((sum, batch) => sum + batch.lossTokens, 0);
  for (const batch of batches) await engine.forwardBackward(batch, 1 / lossTokens);
  const lossSum = await engine.takeLossSum();
  const gradNorm = await engine.gradientNorm();
  await engine.optimizerStep(
    {
      step,
      learningRate,
      weightDecay,
      adamBeta1: 0.9,
      adamBeta2: 0.999,
      adamEpsilon: 1e-8,
      maxGradNorm: 1,
    },
    gradNorm,
  );
  return { loss: lossSum / lossTokens, gradNorm };
}
