import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ignoredLabel, splitBatch } from '../../../src/data/batch';
import { BatchPlan, packRows, type BatchOptions } from '../../../src/data/batches';
import { paddedLength } from '../../../src/data/paddedLength';
import { TokenizedSet } from '../../../src/data/tokenizedSet';

/** Sequence i consists of the id i + 1, so that a batch tells which sequences it holds. */
function makeSet(lengths: readonly number[]): TokenizedSet {
  const set = new TokenizedSet(4);
  for (const [i, length] of lengths.entries()) {
    set.add(Array(length).fill(i + 1), Array(length).fill(1));
  }
  return set;
}

const base: BatchOptions = { batchSize: 3, seed: 5, shuffle: true, maxLength: 64, padTokenId: 0 };

/** Sequences of an epoch, batch by batch. */
function epochOf(plan: BatchPlan, epoch: number): number[][] {
  return Array.from({ length: plan.batchesPerEpoch }, (_, i) => {
    const { inputIds } = plan.batch(epoch, i);
    return [...new Set(inputIds)].filter((id) => id !== 0);
  });
}

const lengths = Array.from({ length: 100 }, (_, i) => 2 + ((i * 37) % 41));

describe('a batch plan', () => {
  it.each([
    ['plain', {}],
    ['grouped by length', { groupByLength: true }],
    ['packed', { packing: true }],
    ['packed and grouped', { packing: true, groupByLength: true }],
    ['in order', { shuffle: false }],
  ])('%s shows every sequence once an epoch', (_name, change) => {
    const plan = new BatchPlan(makeSet(lengths), { ...base, ...change });
    for (const epoch of [0, 1]) {
      const seen = epochOf(plan, epoch).flat();
      expect([...seen].sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i + 1));
    }
  });

  it('is a function of seed, epoch and index, whatever was asked before', () => {
    const set = makeSet(lengths);
    for (const groupByLength of [false, true]) {
      const one = new BatchPlan(set, { ...base, groupByLength });
      const two = new BatchPlan(set, { ...base, groupByLength });
      epochOf(one, 0);
      epochOf(one, 3);
      expect(one.batch(2, 7)).toEqual(two.batch(2, 7));
      expect(epochOf(one, 0)).not.toEqual(epochOf(one, 1));
      expect(epochOf(new BatchPlan(set, { ...base, groupByLength, seed: 6 }), 0)).not.toEqual(
        epochOf(one, 0),
      );
    }
  });

  it('grouped by length computes less padding', () => {
    const padded = (groupByLength: boolean): number => {
      const plan = new BatchPlan(makeSet(lengths), { ...base, groupByLength });
      let positions = 0;
      for (let i = 0; i < plan.batchesPerEpoch; i++) positions += plan.batch(0, i).inputIds.length;
      return positions;
    };
    expect(padded(true)).toBeLessThan(0.85 * padded(false));
  });

  it('pads to one of few lengths and reports real tokens', () => {
    const plan = new BatchPlan(makeSet([3, 9]), { ...base, shuffle: false });
    expect(plan.batch(0, 0)).toMatchObject({ batchSize: 2, sequenceLength: 16, tokens: 12 });
    expect(() => plan.batch(0, 1)).toThrow(RangeError);
  });

  it.each([{}, { groupByLength: true }, { packing: true }])(
    'knows the lengths that its batches have, the longest no longer than need be: %j',
    (change) => {
      const given = Array.from({ length: 90 }, (_, i) => 2 + ((i * 53) % 293));
      const plan = new BatchPlan(makeSet(given), { ...base, maxLength: 300, ...change });
      const seen = new Set<number>();
      for (let epoch = 0; epoch < 4; epoch++) {
        for (let i = 0; i < plan.batchesPerEpoch; i++) {
          seen.add(plan.batch(epoch, i).sequenceLength);
        }
      }
      for (const length of seen) expect(plan.paddedLengths).toContain(length);
      // 294 in single rows and at most 300 in packed ones; 320 comes after 288.
      expect(Math.max(...seen)).toBeLessThanOrEqual(304);
      expect(Math.max(...seen)).toBe(Math.max(...plan.paddedLengths));
    },
  );
});

describe('a padded length', () => {
  it('is a multiple of 8 that adds less than 8 tokens or an eighth of the length', () => {
    for (let length = 1; length <= 5000; length++) {
      const padded = paddedLength(length);
      expect(padded % 8).toBe(0);
      expect(padded).toBeGreaterThanOrEqual(length);
      expect(padded - length).toBeLessThan(Math.max(8, length / 8));
      // What is padded already stays.
      expect(paddedLength(padded)).toBe(padded);
      expect(padded).toBeGreaterThanOrEqual(paddedLength(Math.max(1, length - 1)));
    }
  });

  it('is one of 8 for every doubling', () => {
    const lengthsUpTo = (longest: number): number =>
      new Set(Array.from({ length: longest }, (_, i) => paddedLength(i + 1))).size;
    expect([128, 256, 512, 1024, 4096].map(lengthsUpTo)).toEqual([16, 24, 32, 40, 56]);
  });

  it('never passes what the longest needs', () => {
    expect(paddedLength(449)).toBe(480);
    expect(paddedLength(449, 450)).toBe(456);
    expect(paddedLength(400, 450)).toBe(416);
    expect(paddedLength(129, Infinity, 16)).toBe(144);
    expect(paddedLength(17, Infinity, 16)).toBe(32);
  });
});

describe('packing', () => {
  it('places every sequence once, never over the limit, in no more rows than first fit needs', () => {
    const lists = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(lists, (given) => {
        const rows = packRows(given, 50);
        expect(rows.flat().sort((a, b) => a - b)).toEqual(given.map((_, i) => i));
        const filled = rows.map((row) => row.reduce((sum, i) => sum + given[i]!, 0));
        for (const total of filled) expect(total).toBeLessThanOrEqual(50);
        // Best-fit decreasing: at most 11/9 of the optimum plus 6/9; the optimum is at least the volume.
        const volume = Math.ceil(given.reduce((a, b) => a + b, 0) / 50);
        const halves = given.filter((length) => length > 25).length;
        expect(rows.length).toBeLessThanOrEqual((11 / 9) * Math.max(volume, halves) * 1.5 + 1);
      }),
      { numRuns: 200 },
    );
  });
});

describe('a batch in parts', () => {
  it.each([
    [5, {}],
    [8, { packing: true }],
    [7, { groupByLength: true }],
  ])('has the same rows, labels and counts: of %i, %j', (batchSize, change) => {
    const plan = new BatchPlan(makeSet(lengths), { ...base, batchSize, ...change });
    for (const rows of [1, 2, 3, batchSize, 100]) {
      const whole = plan.batch(1, 2);
      const parts = splitBatch(whole, rows);
      expect(parts.every((part) => part.batchSize <= rows)).toBe(true);
      expect(parts).toHaveLength(Math.ceil(whole.batchSize / rows));
      for (const key of ['inputIds', 'labels', 'positionIds', 'segmentIds'] as const) {
        expect(parts.flatMap((part) => [...part[key]])).toEqual([...whole[key]]);
      }
      for (const key of ['batchSize', 'lossTokens', 'tokens'] as const) {
        expect(parts.reduce((sum, part) => sum + part[key], 0)).toBe(whole[key]);
      }
      for (const part of parts) {
        expect(part.lossTokens).toBe(part.labels.filter((label) => label !== ignoredLabel).length);
      }
    }
  });
});
