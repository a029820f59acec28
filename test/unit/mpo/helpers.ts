/** Matrices and fp64 judges that the MPO tests share. */
import type { Core, Mpo } from '../../../src/core/mpo/types';
import { gaussian } from '../../../src/core/linalg/probes';

export function randomMatrix(rows: number, cols: number, seed: number): Float32Array {
  return gaussian(rows * cols, seed);
}

/** Entries of `a b` in fp64, rounded once. */
export function lowRankMatrix(
  rows: number,
  cols: number,
  rank: number,
  seed: number,
): Float32Array {
  const a = gaussian(rows * rank, seed);
  const b = gaussian(rank * cols, seed + 1);
  const out = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += a[i * rank + k]! * b[k * cols + j]!;
      out[i * cols + j] = sum;
    }
  return out;
}

export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}

/** ||a - b||_F / ||a||_F (absolute where a = 0). */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  const base = norm(a);
  return Math.sqrt(sum) / (base === 0 ? 1 : base);
}

/**
 * The matrix of an MPO entry by entry from the definition (a product of small matrices for each
 * pair of multi-indices), in fp64: a judge that shares no code with the contraction.
 */
export function matrixByDefinition(mpo: Mpo): Float64Array {
  const { rows, cols } = mpo.shape;
  const totalRows = rows.reduce((a, b) => a * b, 1);
  const totalCols = cols.reduce((a, b) => a * b, 1);
  const out = new Float64Array(totalRows * totalCols);
  const digits = (index: number, factors: readonly number[]): number[] => {
    const result: number[] = [];
    let rest = index;
    for (const f of [...factors].reverse()) {
      result.unshift(rest % f);
      rest = Math.floor(rest / f);
    }
    return result;
  };
  for (let i = 0; i < totalRows; i++) {
    const di = digits(i, rows);
    for (let j = 0; j < totalCols; j++) {
      const dj = digits(j, cols);
      let vector = [1];
      mpo.cores.forEach((core, k) => {
        vector = timesSlice(vector, core, di[k]!, dj[k]!);
      });
      out[i * totalCols + j] = vector[0]!;
    }
  }
  return out;
}

function timesSlice(vector: number[], core: Core, i: number, j: number): number[] {
  const [left, ni, nj, right] = core.shape;
  const out = new Array<number>(right).fill(0);
  for (let a = 0; a < left; a++)
    for (let b = 0; b < right; b++)
      out[b]! += vector[a]! * core.data[((a * ni + i) * nj + j) * right + b]!;
  return out;
}

/** The integer hash of test/fixtures/mpo/make.py, centred on zero. */
function hashNoise(count: number, seed: number): Float32Array {
  const out = new Float32Array(count);
  for (let k = 0; k < count; k++) {
    let x = (k + seed * 1000003) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b) >>> 0;
    x = (x ^ (x >>> 16)) >>> 0;
    out[k] = x / 2 ** 32 - 0.5;
  }
  return out;
}

function outerSum(
  rows: number,
  cols: number,
  weights: readonly number[],
  seedA: number,
  seedB: number,
): Float64Array {
  const k = weights.length;
  const a = hashNoise(rows * k, seedA);
  const b = hashNoise(k * cols, seedB);
  const out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++)
    for (let c = 0; c < k; c++) {
      const f = a[i * k + c]! * weights[c]!;
      for (let j = 0; j < cols; j++) out[i * cols + j]! += f * b[c * cols + j]!;
    }
  return out;
}

/** The matrices of test/fixtures/mpo/make.py. */
export function fixtureMatrix(
  kind: string,
  rows: number,
  cols: number,
  seed: number,
): Float32Array {
  switch (kind) {
    case 'noise':
      return hashNoise(rows * cols, seed);
    case 'decay': {
      const weights = Array.from({ length: 24 }, (_, k) => 0.6 ** k);
      return Float32Array.from(outerSum(rows, cols, weights, seed, seed + 1));
    }
    case 'spiked': {
      const base = hashNoise(rows * cols, seed);
      const spikes = outerSum(rows, cols, [1, 1, 1, 1], seed + 2, seed + 3);
      return Float32Array.from(spikes, (x, k) => x + base[k]! * 0.1);
    }
    default:
      throw new Error(kind);
  }
}

/** ||Q^T Q - I||_max for row-major `[m, n]` columns. */
export function orthogonalityDefect(q: ArrayLike<number>, m: number, n: number): number {
  let worst = 0;
  for (let a = 0; a < n; a++)
    for (let b = a; b < n; b++) {
      let sum = 0;
      for (let i = 0; i < m; i++) sum += q[i * n + a]! * q[i * n + b]!;
      worst = Math.max(worst, Math.abs(sum - (a === b ? 1 : 0)));
    }
  return worst;
}
