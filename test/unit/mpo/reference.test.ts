import { describe, expect, it } from 'vitest';
import { energyOf } from '../../../src/core/linalg/gram';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { eigenvalues } from '../../../src/core/linalg/eigh';
import { gram } from '../../../src/core/linalg/gram';
import { decompose } from '../../../src/core/mpo/decompose';
import {
  gaussianKeptEnergy,
  gaussianKeptShare,
  gaussianSpectrum,
  rotateRandomly,
} from '../../../src/core/mpo/reference';
import { chooseShape } from '../../../src/core/mpo/shapes';
import { fixtureMatrix, randomMatrix, relativeDifference } from './helpers';

describe('the Gaussian reference', () => {
  it('is the kept energy of an actual Gaussian matrix', async () => {
    // The law holds for infinite sides; at sides of 64 single draws differ by a few per cent.
    for (const [rows, cols, cores, r] of [
      [128, 128, 3, 16],
      [128, 256, 2, 24],
      [128, 128, 3, 24],
    ] as const) {
      const shape = chooseShape(rows, cols, cores);
      const actual = await decompose(
        randomMatrix(rows, cols, 7),
        rows,
        cols,
        { shape, rank: { r } },
        plainGemm,
      );
      const bonds = actual.bonds.map((b) => b.dimension);
      expect(gaussianKeptEnergy(shape, bonds) / actual.keptEnergy).toBeGreaterThan(0.96);
      expect(gaussianKeptEnergy(shape, bonds) / actual.keptEnergy).toBeLessThan(1.04);
    }
  });

  it('has the spectrum of an actual Gaussian matrix, and its energy', async () => {
    const [side, other] = [64, 256];
    const x = { data: randomMatrix(side, other, 3), rows: side, cols: other };
    const actual = eigenvalues(await gram(x, 'rows', plainGemm), side).map(Math.sqrt);
    const expected = gaussianSpectrum(side, other, energyOf(x.data));
    expect(relativeDifference(actual, expected)).toBeLessThan(0.03);
    expect(energyOf(expected) / energyOf(x.data)).toBeCloseTo(1, 2);
  });

  it('keeps nothing at rank 0, everything at full rank, and grows between', () => {
    let last = 0;
    for (let k = 1; k <= 64; k++) {
      const share = gaussianKeptShare(64, 64, k);
      expect(share).toBeGreaterThan(last);
      // The leading directions hold more than an equal share.
      expect(share).toBeGreaterThanOrEqual(k / 64 - 1e-9);
      last = share;
    }
    expect(last).toBe(1);
  });
});

describe('the random matrix with the same spectrum', () => {
  it('has the same singular values and none of the structure', async () => {
    // Sizes on both sides of the block of 256, one of them with a remainder.
    for (const [rows, cols] of [
      [48, 40],
      [300, 64],
    ] as const) {
      const weight = fixtureMatrix('decay', rows, cols, 5);
      const rotated = await rotateRandomly(weight, rows, cols, 3, plainGemm);
      const spectrum = async (data: Float32Array): Promise<Float64Array> =>
        eigenvalues(await gram({ data, rows, cols }, 'cols', plainGemm), cols).map((w) =>
          Math.sqrt(Math.max(0, w)),
        );
      expect(relativeDifference(await spectrum(weight), await spectrum(rotated))).toBeLessThan(
        1e-6,
      );
      expect(relativeDifference(weight, rotated)).toBeGreaterThan(0.5);
    }
    // A diagonal matrix is an MPO of bond one (up to its values); a rotated one is not.
    const n = 64;
    const diagonal = new Float32Array(n * n);
    for (let i = 0; i < n; i++) diagonal[i * n + i] = 0.9 ** i;
    const options = { shape: chooseShape(n, n, 3), rank: { r: 4 } };
    const own = await decompose(diagonal, n, n, options, plainGemm);
    const rotated = await rotateRandomly(diagonal, n, n, 3, plainGemm);
    const random = await decompose(rotated, n, n, options, plainGemm);
    expect(own.keptEnergy).toBeGreaterThan(0.99);
    expect(random.keptEnergy).toBeLessThan(0.6);
  });

  it('is reproducible', async () => {
    const weight = randomMatrix(20, 30, 1);
    const a = await rotateRandomly(weight, 20, 30, 3, plainGemm);
    expect(await rotateRandomly(weight, 20, 30, 3, plainGemm)).toEqual(a);
    expect(await rotateRandomly(weight, 20, 30, 4, plainGemm)).not.toEqual(a);
  });
});
