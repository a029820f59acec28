import { describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { randomBatch, tinyConfig } from './tiny';

const adamW = {
  learningRate: 1e-2,
  weightDecay: 0,
  adamBeta1: 0.9,
  adamBeta2: 0.999,
  adamEpsilon: 1e-8,
  maxGradNorm: 1,
};

describe('full fine-tuning on the CPU', () => {
  it('memorises a batch', async () => {
    const engine = await createEngine({
      config: tinyConfig,
      weights: randomWeights(tinyConfig, 3),
      adapters: fullPlan,
      device: 'cpu',
      threads: 1,
    });
    const batch = randomBatch(tinyConfig, [9, 12, 7]);
    const losses: number[] = [];
    for (let step = 1; step <= 40; step++) {
      await engine.forwardBackward(batch, 1 / batch.lossTokens);
      const lossSum = await engine.takeLossSum();
      losses.push(lossSum / batch.lossTokens);
      await engine.optimizerStep({ ...adamW, step }, await engine.gradientNorm());
    }
    expect(losses[0]).toBeGreaterThan(3);
    expect(losses.at(-1)).toBeLessThan(0.2);
    expect((await engine.evaluate(batch)).lossSum / batch.lossTokens).toBeLessThan(losses.at(-1)!);
    await engine.dispose();
  });
});
