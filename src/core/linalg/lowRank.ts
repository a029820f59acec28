/**
 * Leading singular subspace of a wide-sided matrix by randomised block Krylov iteration (Musco &
 * Musco, 2015), all work in GEMMs. Where the Krylov basis would itself be too wide for the
 * eigen-solver, subspace iteration with oversampling (Halko, Martinsson & Tropp, 2011).
 */
import type { Gemm, Matrix } from '../gemm';
import { energyOf, gram } from './gram';
import { leadingEigen } from './leadingEigen';
import { orthonormalise, orthonormaliseAgainst } from './orthonormalise';
import { gaussian } from './probes';

/** Krylov steps after the first block; 3 keeps the excess error on flat spectra below 0.5 %. */
const KRYLOV_STEPS = 3;
/** Widest basis that goes through the eigen-solver in the Krylov form. */
const MAX_KRYLOV_BASIS = 768;
const POWER_STEPS = 4;
/**
 * Relative discarded energy below which ||X||^2 - sum S^2 cancels too many digits of fp32 data, so
 * that the residual is summed entry by entry.
 */
const EXPLICIT_BELOW = 2.5e-3;
/** Relative singular value below which a direction is rounding noise of fp32 products. */
const RANK_FLOOR = 1e-6;

export interface LowRank {
  /** Orthonormal columns `[m, k]`, k <= r. */
  basis: Matrix<Float32Array>;
  /** `basis^T X`, `[k, n]`. */
  coordinates: Matrix<Float32Array>;
  /** Ritz values, descending: lower bounds of the singular values, loose near the cut. */
  singularValues: Float64Array;
  /** ||X - basis coordinates||_F^2. */
  discardedEnergy: number;
}

/**
 * Rank-`r` approximation of X, where X is `x` or its transpose.
 * @param transpose true: X = x^T
 * @param energy ||x||_F^2
 */
export async function lowRank(
  x: Matrix<Float32Array>,
  transpose: boolean,
  r: number,
  energy: number,
  seed: number,
  gemm: Gemm,
): Promise<LowRank> {
  const m = transpose ? x.cols : x.rows;
  const n = transpose ? x.rows : x.cols;
  const apply = (y: Matrix<Float32Array>): Promise<Matrix<Float32Array>> =>
    gemm.f32(x, y, { transposeA: transpose });
  const applyTransposed = (y: Matrix<Float32Array>): Promise<Matrix<Float32Array>> =>
    gemm.f32(x, y, { transposeA: !transpose });

  const limit = Math.min(m, n);
  const krylov = (KRYLOV_STEPS + 1) * r <= Math.min(MAX_KRYLOV_BASIS, limit);
  const width = krylov ? r : Math.min(limit, r + Math.max(8, Math.ceil(r / 2)));
  let block = await orthonormalise(
    await apply({ data: gaussian(n * width, seed), rows: n, cols: width }),
    gemm,
  );
  const blocks: Matrix<Float32Array>[] = [];
  const images: Matrix<Float32Array>[] = [];
  const steps = krylov ? KRYLOV_STEPS : POWER_STEPS;
  for (let step = 0; block.cols > 0; step++) {
    const image = await applyTransposed(block);
    if (krylov || step === steps) {
      blocks.push(block);
      images.push(image);
    }
    if (step === steps) break;
    const next = await apply(image);
    block = krylov
      ? await orthonormaliseAgainst(next, blocks, gemm)
      : await orthonormalise(next, gemm);
    if (block.cols === 0 && !krylov) break;
  }
  // A zero matrix has no basis of its own; any unit vector serves.
  if (blocks.length === 0) return emptyResult(m, n, energy);

  const basis = joinColumns(blocks);
  const image = joinColumns(images);
  const l = basis.cols;
  // Directions above rounding, at most r.
  const count = (values: Float64Array): number => {
    const floor = (values[0] ?? 0) * RANK_FLOOR ** 2;
    let k = 0;
    while (k < Math.min(r, l) && (values[k] as number) > floor) k++;
    return k;
  };
  const { values, vectors, k } = leadingEigen(await gram(image, 'cols', gemm), l, count, r);
  if (k === 0) return emptyResult(m, n, energy);
  const rotation = { data: Float32Array.from(vectors), rows: l, cols: k };
  const u = await gemm.f32(basis, rotation);
  const coordinates = await gemm.f32(rotation, image, { transposeA: true, transposeB: true });
  const singularValues = values.slice(0, k).map(Math.sqrt);
  let discardedEnergy = Math.max(0, energy - energyOf(singularValues));
  if (discardedEnergy < EXPLICIT_BELOW * energy)
    discardedEnergy = await residualEnergy(x, transpose, u, coordinates, gemm);
  return { basis: u, coordinates, singularValues, discardedEnergy };
}

function emptyResult(m: number, n: number, energy: number): LowRank {
  const basis = new Float32Array(m);
  basis[0] = 1;
  return {
    basis: { data: basis, rows: m, cols: 1 },
    coordinates: { data: new Float32Array(n), rows: 1, cols: n },
    singularValues: new Float64Array(1),
    discardedEnergy: energy,
  };
}

function joinColumns(parts: readonly Matrix<Float32Array>[]): Matrix<Float32Array> {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const rows = only?.rows ?? 0;
  const cols = parts.reduce((sum, p) => sum + p.cols, 0);
  const data = new Float32Array(rows * cols);
  let at = 0;
  for (const p of parts) {
    for (let i = 0; i < rows; i++)
      data.set(p.data.subarray(i * p.cols, (i + 1) * p.cols), i * cols + at);
    at += p.cols;
  }
  return { data, rows, cols };
}

/** ||X - u c||_F^2 summed in fp64 over row chunks of `x`. */
async function residualEnergy(
  x: Matrix<Float32Array>,
  transpose: boolean,
  u: Matrix<Float32Array>,
  c: Matrix<Float32Array>,
  gemm: Gemm,
): Promise<number> {
  const height = Math.max(1, Math.min(x.rows, Math.floor((1 << 20) / x.cols)));
  let total = 0;
  for (let start = 0; start < x.rows; start += height) {
    const h = Math.min(height, x.rows - start);
    let part: Matrix<Float32Array>;
    if (transpose) {
      // x = c^T u^T; rows of x are columns of c.
      const slice = new Float32Array(c.rows * h);
      for (let k = 0; k < c.rows; k++)
        slice.set(c.data.subarray(k * c.cols + start, k * c.cols + start + h), k * h);
      part = await gemm.f32({ data: slice, rows: c.rows, cols: h }, u, {
        transposeA: true,
        transposeB: true,
      });
    } else {
      const rows = u.data.subarray(start * u.cols, (start + h) * u.cols);
      part = await gemm.f32({ data: rows, rows: h, cols: u.cols }, c);
    }
    const base = start * x.cols;
    for (let i = 0; i < h * x.cols; i++)
      total += ((x.data[base + i] as number) - (part.data[i] as number)) ** 2;
  }
  return total;
}
