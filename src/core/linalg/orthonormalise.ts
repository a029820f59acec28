/**
 * Orthonormal bases of tall fp32 matrices by Cholesky QR on fp64 Gram matrices (Yamamoto et al.,
 * "CholeskyQR2", 2015): all heavy work is GEMM. Numerically dependent columns are dropped.
 */
import type { Gemm, Matrix } from '../gemm';
import { cholesky, invertUpper } from './cholesky';
import { eigh } from './eigh';
import { gram } from './gram';

/** Squared relative pivot below which Cholesky is not trusted with fp32 data. */
const PIVOT_FLOOR = 1e-10;
/** Relative eigenvalue of the Gram matrix below which a direction is rounding noise of fp32 data. */
const RANK_FLOOR = 1e-13;

/**
 * Orthonormal columns that span those of `y` `[m, l]`, l <= m.
 * @returns `[m, k]`, k <= l; k is smaller where columns are dependent, 0 for a zero matrix
 */
export async function orthonormalise(
  y: Matrix<Float32Array>,
  gemm: Gemm,
): Promise<Matrix<Float32Array>> {
  // The second pass removes what the first one's conditioning left (CholeskyQR2).
  const first = await orthonormaliseOnce(y, gemm);
  return first.cols === 0 ? first : orthonormaliseOnce(first, gemm);
}

async function orthonormaliseOnce(
  y: Matrix<Float32Array>,
  gemm: Gemm,
): Promise<Matrix<Float32Array>> {
  const l = y.cols;
  const g = await gram(y, 'cols', gemm);
  const r = cholesky(g, l, PIVOT_FLOOR);
  if (r !== undefined) {
    const inverse = Float32Array.from(invertUpper(r, l));
    return gemm.f32(y, { data: inverse, rows: l, cols: l });
  }
  const { values, vectors } = eigh(g, l);
  const largest = values[0] ?? 0;
  let k = 0;
  while (k < l && (values[k] as number) > RANK_FLOOR * largest && (values[k] as number) > 0) k++;
  if (k === 0) return { data: new Float32Array(0), rows: y.rows, cols: 0 };
  const transform = new Float32Array(l * k);
  for (let i = 0; i < l; i++)
    for (let j = 0; j < k; j++)
      transform[i * k + j] = (vectors[i * l + j] as number) / Math.sqrt(values[j] as number);
  return gemm.f32(y, { data: transform, rows: l, cols: k });
}

/**
 * Orthonormal columns that span what `y` adds to orthonormal `bases`; new data. Orthonormalising
 * blows up rounding along directions in which `y` is small, so that the result is projected and
 * orthonormalised once more ("twice is enough", Parlett).
 */
export async function orthonormaliseAgainst(
  y: Matrix<Float32Array>,
  bases: readonly Matrix<Float32Array>[],
  gemm: Gemm,
): Promise<Matrix<Float32Array>> {
  let result = y;
  for (let pass = 0; pass < 2 && result.cols > 0; pass++)
    result = await orthonormalise(await projectOut(result, bases, gemm), gemm);
  return result;
}

/** `y - q (q^T y)` for one basis after the other. */
async function projectOut(
  y: Matrix<Float32Array>,
  bases: readonly Matrix<Float32Array>[],
  gemm: Gemm,
): Promise<Matrix<Float32Array>> {
  const data = Float32Array.from(y.data);
  const result = { data, rows: y.rows, cols: y.cols };
  for (const q of bases) {
    const coefficients = await gemm.f32(q, result, { transposeA: true });
    const part = (await gemm.f32(q, coefficients)).data;
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) - (part[i] as number);
  }
  return result;
}
