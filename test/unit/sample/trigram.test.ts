import { describe, expect, it } from 'vitest';
import { TrigramModel } from '../../../scripts/sample/trigram';

describe('TrigramModel', () => {
  it('gives the hand-computed Witten-Bell probabilities', () => {
    // Targets of [0,1,2]: 1 and 2. Unigram: N=2, 2 kinds: p(1) = (1 + 2 * 1/4) / 4 = 0.375.
    // Bigram 0 -> 1: (1 + 1 * 0.375) / 2 = 0.6875. For 2 after (0, 1): unigram 0.375, bigram
    // 0.6875, trigram (1 + 0.6875) / 2 = 0.84375.
    const model = new TrigramModel([[0, 1, 2]], 4);
    const expected = -(Math.log(0.6875) + Math.log(0.84375)) / 2;
    expect(model.loss([[0, 1, 2]])).toBeCloseTo(expected, 12);
  });

  it('sums to one over the vocabulary', () => {
    const model = new TrigramModel(
      [
        [0, 1, 2, 1],
        [0, 2, 2, 3],
      ],
      5,
    );
    // Only the last target differs: p(t | 1, 2) for t = 0..4, recovered from mean losses.
    const prefix = [0, 1, 2];
    const base = 2 * model.loss([prefix]);
    const probabilities = [0, 1, 2, 3, 4].map((t) =>
      Math.exp(base - 3 * model.loss([[...prefix, t]])),
    );
    expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 10);
    expect(Math.max(...probabilities)).toBe(probabilities[1]);
  });
});
