import { describe, expect, it } from 'vitest';
import { cholesky, invertUpper } from '../../../src/core/linalg/cholesky';
import { eigenvalues, eigh } from '../../../src/core/linalg/eigh';
import { leadingEigen } from '../../../src/core/linalg/leadingEigen';
import { lowRank } from '../../../src/core/linalg/lowRank';
import { energyOf, gram } from '../../../src/core/linalg/gram';
import { plainKernels, simdKernels } from '../../../src/core/linalg/simd/kernels';
import { orthonormalise } from '../../../src/core/linalg/orthonormalise';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { gaussian } from '../../../src/core/linalg/probes';
import { qr } from '../../../src/core/linalg/qr';
import { lowRankMatrix, orthogonalityDefect, relativeDifference } from './helpers';

function symmetric(n: number, seed: number): Float64Array {
  const b = gaussian(n * n, seed);
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) a[i * n + j] = b[i * n + j]! + b[j * n + i]!;
  return a;
}

function residual(a: Float64Array, n: number, values: Float64Array, v: Float64Array): number {
  let worst = 0;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += v[i * n + k]! * values[k]! * v[j * n + k]!;
      worst = Math.max(worst, Math.abs(sum - a[i * n + j]!));
    }
  return worst;
}

describe('eigh', () => {
  // Backward stability: errors of some n eps ||A||; 1e-13 ||A|| leaves a factor of ten at n = 130.
  it.each([1, 2, 3, 4, 7, 33, 130])('decomposes a random symmetric matrix of size %i', (n) => {
    const a = symmetric(n, n);
    const { values, vectors } = eigh(a, n);
    const scale = Math.abs(values[0]!) + Math.abs(values[n - 1]!);
    expect(residual(a, n, values, vectors)).toBeLessThan(1e-13 * scale + 1e-300);
    expect(orthogonalityDefect(vectors, n, n)).toBeLessThan(1e-13);
    for (let k = 1; k < n; k++) expect(values[k]!).toBeLessThanOrEqual(values[k - 1]!);
    expect(relativeDifference(values, eigenvalues(a, n))).toBeLessThan(1e-13);
  });

  it('knows the eigenvalues of the discrete Laplacian', () => {
    const n = 40;
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      a[i * n + i] = 2;
      if (i + 1 < n) a[i * n + i + 1] = a[(i + 1) * n + i] = -1;
    }
    const exact = Float64Array.from(
      { length: n },
      (_, k) => 2 - 2 * Math.cos((Math.PI * (n - k)) / (n + 1)),
    );
    expect(relativeDifference(exact, eigh(a, n).values)).toBeLessThan(1e-14);
  });

  it.each([
    ['zero', (): number => 0],
    ['constant', (): number => 3],
    ['identity', (i: number, j: number): number => (i === j ? 1 : 0)],
    ['rank one, tiny', (i: number, j: number): number => 1e-290 * (i + 1) * (j + 1)],
    ['huge', (i: number, j: number): number => 1e280 * Math.cos(i * j)],
    ['graded', (i: number, j: number): number => 10 ** (-(i + j) / 2)],
  ])('decomposes a degenerate matrix: %s', (_, entry) => {
    const n = 24;
    const a = Float64Array.from({ length: n * n }, (_x, at) => entry(Math.floor(at / n), at % n));
    const { values, vectors } = eigh(a, n);
    const largest = Math.max(...a.map(Math.abs));
    expect(residual(a, n, values, vectors)).toBeLessThanOrEqual(1e-13 * n * largest);
    expect(orthogonalityDefect(vectors, n, n)).toBeLessThan(1e-13);
  });

  it('gives the same bits twice and a positive largest entry in each vector', () => {
    const n = 65;
    const a = symmetric(n, 9);
    const first = eigh(a, n);
    expect(eigh(a, n)).toEqual(first);
    for (let j = 0; j < n; j++) {
      const column = Array.from({ length: n }, (_, i) => first.vectors[i * n + j]!);
      const top = column.reduce((x, y) => (Math.abs(y) > Math.abs(x) ? y : x));
      expect(top).toBeGreaterThan(0);
    }
  });

  // Not a tolerance: both sets of loops round in the same order, so a result does not depend on
  // whether the platform has SIMD.
  it.each([2, 3, 8, 9, 31, 96, 129])('gives the same bits with and without SIMD, size %i', (n) => {
    const a = symmetric(n, n);
    // A rank-deficient half: reflections of zero length and early deflation.
    if (n > 90) for (let i = n >> 1; i < n; i++) a.fill(0, i * n, i * n + n);
    const simd = eigh(a, n, (doubles) => {
      const kernels = simdKernels(doubles);
      expect(kernels?.kind).toBe('simd');
      return kernels!;
    });
    const plain = eigh(a, n, plainKernels);
    expect(simd.values).toEqual(plain.values);
    expect(simd.vectors).toEqual(plain.vectors);
  });

  it('refuses values that are not finite', () => {
    expect(() => eigh(Float64Array.of(1, NaN, NaN, 1), 2)).toThrow(/finite/);
  });
});

describe('leadingEigen', () => {
  // Inverse iteration starts from n = 48; the degenerate ones must pass or fall back to QL.
  const n = 60;
  const cases: [string, Float64Array][] = [
    ['random', symmetric(n, 3)],
    ['identity', Float64Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0))],
    ['zero', new Float64Array(n * n)],
    ['constant', new Float64Array(n * n).fill(2)],
    [
      'two clusters',
      Float64Array.from({ length: n * n }, (_, at) =>
        at % (n + 1) === 0 ? (at < (n * n) / 2 ? 3 : 1) : 1e-13,
      ),
    ],
  ];
  it.each(cases)('%s: all eigenvalues, few vectors', (_, a) => {
    const k = 11;
    const full = eigh(a, n);
    const few = leadingEigen(a, n, () => k);
    expect(few.k).toBe(k);
    const scale = Math.max(1e-300, ...full.values.map(Math.abs));
    for (let i = 0; i < n; i++)
      expect(Math.abs(few.values[i]! - full.values[i]!)).toBeLessThan(1e-13 * scale);
    expect(orthogonalityDefect(few.vectors, n, k)).toBeLessThan(1e-10);
    for (let j = 0; j < k; j++)
      for (let i = 0; i < n; i++) {
        let y = 0;
        for (let x = 0; x < n; x++) y += a[i * n + x]! * few.vectors[x * k + j]!;
        expect(Math.abs(y - few.values[j]! * few.vectors[i * k + j]!)).toBeLessThan(
          1e-10 * scale + 1e-300,
        );
      }
    expect(leadingEigen(a, n, () => k)).toEqual(few);
  });

  it('gives the same vectors as the whole decomposition', () => {
    const a = symmetric(n, 4);
    const full = eigh(a, n);
    const { vectors } = leadingEigen(a, n, (values) => values.filter((x) => x > 15).length);
    const k = full.values.filter((x) => x > 15).length;
    expect(k).toBeGreaterThan(2);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < k; j++)
        expect(vectors[i * k + j]!).toBeCloseTo(full.vectors[i * n + j]!, 9);
  });
});

describe('factorisations', () => {
  it('cholesky and the triangular inverse', () => {
    const n = 20;
    const x = gaussian(40 * n, 3);
    const g = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < 40; k++) g[i * n + j]! += x[k * n + i]! * x[k * n + j]!;
    const r = cholesky(g, n, 1e-12)!;
    const inverse = invertUpper(r, n);
    const back = new Float64Array(n * n);
    const unit = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n; k++) {
          back[i * n + j]! += r[k * n + i]! * r[k * n + j]!;
          unit[i * n + j]! += r[i * n + k]! * inverse[k * n + j]!;
        }
    expect(relativeDifference(g, back)).toBeLessThan(1e-14);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) expect(unit[i * n + j]!).toBeCloseTo(i === j ? 1 : 0, 12);
  });

  it('cholesky refuses a rank-deficient matrix', () => {
    expect(cholesky(Float64Array.of(1, 1, 1, 1), 2, 1e-12)).toBeUndefined();
    expect(cholesky(new Float64Array(4), 2, 1e-12)).toBeUndefined();
  });

  it.each([
    [9, 4],
    [4, 9],
    [6, 6],
  ])('qr of %i x %i', (m, n) => {
    const a = Float64Array.from(gaussian(m * n, 5));
    // A dependent column must not hurt.
    for (let i = 0; i < m; i++) a[i * n + 1] = 2 * a[i * n]!;
    const { q, r, k } = qr(a, m, n);
    const back = new Float64Array(m * n);
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++)
        for (let x = 0; x < k; x++) back[i * n + j]! += q[i * k + x]! * r[x * n + j]!;
    expect(relativeDifference(a, back)).toBeLessThan(1e-14);
    expect(orthogonalityDefect(q, m, k)).toBeLessThan(1e-14);
    for (let i = 0; i < k; i++) expect(r[i * n + i]!).toBeGreaterThanOrEqual(0);
  });
});

describe('orthonormalise', () => {
  it('gives orthonormal columns to fp32 precision, and drops dependent ones', async () => {
    const whole = await orthonormalise(
      { data: gaussian(300 * 40, 1), rows: 300, cols: 40 },
      plainGemm,
    );
    expect(whole.cols).toBe(40);
    expect(orthogonalityDefect(whole.data, 300, 40)).toBeLessThan(1e-6);
    const deficient = await orthonormalise(
      { data: lowRankMatrix(200, 30, 7, 2), rows: 200, cols: 30 },
      plainGemm,
    );
    expect(deficient.cols).toBeGreaterThanOrEqual(7);
    expect(deficient.cols).toBeLessThan(30);
    expect(orthogonalityDefect(deficient.data, 200, deficient.cols)).toBeLessThan(1e-6);
    const none = await orthonormalise(
      { data: new Float32Array(50 * 3), rows: 50, cols: 3 },
      plainGemm,
    );
    expect(none.cols).toBe(0);
  });
});

describe('gram', () => {
  it('agrees for both sides and over chunk borders', async () => {
    // 700 x 1600 is more than one chunk of 2^19 entries on either side.
    const x = { data: gaussian(700 * 1600, 4), rows: 700, cols: 1600 };
    const rows = await gram({ ...x, rows: 20, cols: 56000 }, 'rows', plainGemm);
    const t = new Float32Array(x.data.length);
    for (let i = 0; i < 20; i++)
      for (let j = 0; j < 56000; j++) t[j * 20 + i] = x.data[i * 56000 + j]!;
    const cols = await gram({ data: t, rows: 56000, cols: 20 }, 'cols', plainGemm);
    expect(relativeDifference(rows, cols)).toBeLessThan(1e-14);
    let trace = 0;
    for (let i = 0; i < 20; i++) trace += rows[i * 20 + i]!;
    expect(trace / energyOf(x.data)).toBeCloseTo(1, 12);
  });
});

describe('lowRank', () => {
  it('finds a low-rank matrix again, from either side', async () => {
    for (const transpose of [false, true]) {
      const x = { data: lowRankMatrix(90, 70, 6, 8), rows: 90, cols: 70 };
      const energy = energyOf(x.data);
      const found = await lowRank(x, transpose, 10, energy, 1, plainGemm);
      // Six directions and no noise directions with them.
      expect(found.basis.cols).toBe(6);
      expect(found.discardedEnergy / energy).toBeLessThan(1e-12);
      expect(orthogonalityDefect(found.basis.data, found.basis.rows, 6)).toBeLessThan(1e-6);
    }
  });

  it('survives a zero matrix', async () => {
    const x = { data: new Float32Array(600), rows: 30, cols: 20 };
    const found = await lowRank(x, false, 4, 0, 1, plainGemm);
    expect(found.basis.cols).toBe(1);
    expect(found.discardedEnergy).toBe(0);
  });
});
