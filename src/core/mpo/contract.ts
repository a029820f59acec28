/** From cores back to a matrix. */
import type { Gemm, Matrix } from '../gemm';
import { deinterleave } from './interleave';
import type { Core, Mpo, Orientation } from './types';

/**
 * The chain product in the interleaved order T[(i_1, j_1), .., (i_n, j_n)], contracted from both
 * ends to the middle, which keeps the intermediate results small.
 */
export async function contractInterleaved(mpo: Mpo, gemm: Gemm): Promise<Float32Array> {
  return (await contractRange(mpo.cores, 0, mpo.cores.length, gemm)).data;
}

/** Cores [from, to) as `[d_{from} P_from .. P_{to-1}, d_to]`. */
export async function contractRange(
  cores: readonly Core[],
  from: number,
  to: number,
  gemm: Gemm,
): Promise<Matrix<Float32Array>> {
  const first = cores[from];
  if (first === undefined) throw new Error(`No core ${from}.`);
  if (to - from === 1) {
    const right = first.shape[3];
    return { data: first.data, rows: first.data.length / right, cols: right };
  }
  const middle = (from + to) >> 1;
  const left = await contractRange(cores, from, middle, gemm);
  const right = await contractRange(cores, middle, to, gemm);
  const bond = left.cols;
  const joined = await gemm.f32(left, {
    data: right.data,
    rows: bond,
    cols: right.data.length / bond,
  });
  const outer = right.cols;
  return { data: joined.data, rows: joined.data.length / outer, cols: outer };
}

/**
 * The weight `[outFeatures, inFeatures]` (row-major) that the cores describe; padded rows and
 * columns are dropped.
 */
export async function contractToWeight(
  mpo: Mpo,
  outFeatures: number,
  inFeatures: number,
  orientation: Orientation,
  gemm: Gemm,
): Promise<Float32Array> {
  const t = await contractInterleaved(mpo, gemm);
  return deinterleave(t, outFeatures, inFeatures, mpo.shape, orientation);
}

/** The same for cores on their own: row and column factors are read off them. */
export function mpoDense(
  cores: readonly Core[],
  outFeatures: number,
  inFeatures: number,
  orientation: Orientation,
  gemm: Gemm,
): Promise<Float32Array> {
  const shape = {
    rows: cores.map((core) => core.shape[1]),
    cols: cores.map((core) => core.shape[2]),
  };
  return contractToWeight({ shape, cores }, outFeatures, inFeatures, orientation, gemm);
}
