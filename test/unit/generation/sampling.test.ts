import { describe, expect, it } from 'vitest';
import {
  argmax,
  candidates,
  logSoftmax,
  sample,
  topIndices,
} from '../../../src/trainer/generation/sampling';

const logits = Float32Array.from([0.5, 2, -1, 1.5, 2]);
const all = { temperature: 1, topK: 0, topP: 1 };

describe('choosing tokens', () => {
  it('takes the first of equal logits', () => {
    expect(argmax(logits)).toBe(1);
    expect(topIndices(logits, 3)).toEqual([1, 4, 3]);
    expect(topIndices([1], 4)).toEqual([0]);
  });

  it('normalises', () => {
    const sum = logSoftmax(logits).reduce((total, value) => total + Math.exp(value), 0);
    expect(sum).toBeCloseTo(1, 12);
    expect(logSoftmax(Float32Array.from([1000, 1000]))[0]).toBeCloseTo(-Math.LN2, 12);
  });

  it('keeps the k most probable, then the nucleus', () => {
    expect(candidates(logits, { ...all, topK: 2 }).map(({ id }) => id)).toEqual([1, 4]);
    // exp: 1.65, 7.39, 0.37, 4.48, 7.39; shares of 21.28: the two largest have 0.69.
    expect(candidates(logits, { ...all, topP: 0.7 }).map(({ id }) => id)).toEqual([1, 4, 3]);
    expect(candidates(logits, { ...all, topP: 0.69 }).map(({ id }) => id)).toEqual([1, 4]);
    expect(candidates(logits, { ...all, topP: 0.01 })).toEqual([{ id: 1, probability: 1 }]);
  });

  it('draws by the probabilities', () => {
    const options = { temperature: 0.8, topK: 4, topP: 0.97, seed: 5 };
    const wanted = candidates(logits, options);
    const draws = 20_000;
    const counts = new Map<number, number>();
    for (let step = 0; step < draws; step++) {
      const id = sample(logits, options, 0, step);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(wanted.map(({ id }) => id).sort());
    for (const { id, probability } of wanted) {
      // Five standard deviations of a binomial share.
      const spread = 5 * Math.sqrt((probability * (1 - probability)) / draws);
      expect(Math.abs(counts.get(id)! / draws - probability)).toBeLessThan(spread);
    }
  });
});
