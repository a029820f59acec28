import { describe, expect, it } from 'vitest';
import { learningRateAt } from '../../../src/core/schedule';

// Values of transformers 5.18 `get_scheduler(..., num_warmup_steps=3, num_training_steps=10)` at a
// peak of 1, read with `scheduler.get_last_lr()` before each of the ten optimizer steps.
const reference = {
  linear: [0, 1 / 3, 2 / 3, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7],
  cosine: [
    0, 0.3333333333333333, 0.6666666666666666, 1, 0.9504844339512095, 0.8117449009293668,
    0.6112604669781572, 0.3887395330218428, 0.1882550990706332, 0.04951556604879043,
  ],
  constant: [0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1],
};

describe('learningRateAt', () => {
  for (const [type, values] of Object.entries(reference)) {
    it(`follows the Trainer's ${type} schedule`, () => {
      const schedule = {
        type: type as keyof typeof reference,
        learningRate: 1,
        warmupSteps: 3,
        totalSteps: 10,
      };
      values.forEach((value, done) => {
        expect(learningRateAt(schedule, done + 1)).toBeCloseTo(value, 12);
      });
    });
  }

  it('reads a warm-up below 1 as a share of all steps', () => {
    const schedule = {
      type: 'constant' as const,
      learningRate: 2,
      warmupSteps: 0.25,
      totalSteps: 10,
    };
    expect([1, 2, 3, 4].map((s) => learningRateAt(schedule, s))).toEqual([0, 2 / 3, 4 / 3, 2]);
  });
});
