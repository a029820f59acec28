import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  chooseShape,
  fullBonds,
  pairSizes,
  parameterCount,
  primeFactors,
  product,
  resolveBonds,
  validateShape,
} from '../../../src/core/mpo/shapes';

const pairsOf = (rows: number, cols: number, cores: number): number[] =>
  pairSizes(chooseShape(rows, cols, cores));

describe('chooseShape', () => {
  // Values worked out by hand: the geometric mean, or the smallest excess that the primes allow.
  it.each([
    [4096, 4096, 3, [256, 256, 256]],
    [4096, 4096, 4, [64, 64, 64, 64]],
    [11008, 4096, 3, [512, 256, 344]],
    [11008, 4096, 4, [128, 64, 64, 86]],
    [14336, 4096, 3, [512, 256, 448]],
    [5120, 5120, 4, [80, 64, 64, 80]],
    [64, 256, 3, [32, 16, 32]],
  ])('splits %i x %i into %i balanced pairs, the two largest at the ends', (r, c, n, pairs) => {
    expect(pairsOf(r, c, n)).toEqual(pairs);
  });

  it('zero-pads sizes with large primes, and only those', () => {
    const padded = chooseShape(50257, 768, 4);
    expect(product(padded.rows)).toBeGreaterThan(50257);
    expect(product(padded.rows)).toBeLessThan(50257 * 1.01);
    expect(product(padded.cols)).toBe(768);
    expect(product(chooseShape(11008, 4096, 4).rows)).toBe(11008);
    expect(product(chooseShape(50257, 768, 4, { padding: false }).rows)).toBe(50257);
  });

  it('always gives a valid shape, or says that there is none', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 700 }),
        fc.integer({ min: 2, max: 700 }),
        fc.integer({ min: 2, max: 6 }),
        (rows, cols, cores) => {
          let shape;
          try {
            shape = chooseShape(rows, cols, cores);
          } catch (error) {
            expect(error).toMatchObject({ code: 'adapter.shape' });
            // Refusal is right only where the primes do not suffice for pairs of two or more.
            expect(primeFactors(rows).length + primeFactors(cols).length).toBeLessThan(2 * cores);
            return;
          }
          validateShape(shape, rows, cols);
          const pairs = pairSizes(shape);
          const inner = pairs.slice(1, -1);
          const ends = [pairs[0]!, pairs[cores - 1]!];
          expect(Math.max(0, ...inner)).toBeLessThanOrEqual(Math.min(...ends));
        },
      ),
      { seed: 1, numRuns: 100 },
    );
  });
});

describe('bonds', () => {
  it('counts full bonds and parameters', () => {
    const shape = { rows: [2, 3, 4], cols: [5, 6, 7] };
    expect(fullBonds(shape)).toEqual([10, 28]);
    expect(parameterCount(shape, [3, 4])).toBe(10 * 3 + 3 * 18 * 4 + 4 * 28);
  });

  it('clamps one rank, refuses a list beyond the full bond', () => {
    const shape = { rows: [2, 3, 4], cols: [5, 6, 7] };
    expect(resolveBonds(shape, 20)).toEqual([10, 20]);
    expect(() => resolveBonds(shape, [11, 20])).toThrow(/exceeds its full bond 10/);
    expect(() => resolveBonds(shape, [5])).toThrow(/1 ranks for 2 bonds/);
    expect(() => resolveBonds(shape, 0)).toThrow(/positive/);
    expect(() => resolveBonds(shape, 1.5)).toThrow(/positive/);
  });
});

describe('validateShape', () => {
  it.each([
    [{ rows: [4, 4], cols: [4, 4, 4] }, /2 row factors but 3/],
    [{ rows: [4], cols: [4] }, /two cores/],
    [{ rows: [4, 3], cols: [4, 4] }, /multiply to 12/],
    [{ rows: [4, 9], cols: [4, 4] }, /more than twice/],
    [{ rows: [4, -4], cols: [4, 4] }, /positive/],
  ])('refuses %j', (shape, message) => {
    expect(() => validateShape(shape, 16, 16)).toThrow(message);
  });
});
