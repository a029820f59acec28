/** The truncation error by reconstruction: the check on what energy differences predict. */
import type { Gemm } from '../gemm';
import { contractRange } from './contract';
import { interleave } from './interleave';
import type { WeightRows } from './interleave';
import type { Mpo, Orientation } from './types';

/** 4 MiB of reconstructed entries at a time. */
const CHUNK = 1 << 20;

/**
 * ||W - MPO||_F / ||W||_F (0 for a zero matrix), padded places included, in chunks: the matrix is
 * never whole beside its interleaved copy.
 */
export async function explicitError(
  weight: WeightRows,
  mpo: Mpo,
  orientation: Orientation,
  gemm: Gemm,
): Promise<number> {
  const { tensor, energy } = interleave(weight, mpo.shape, orientation);
  const n = mpo.cores.length;
  const left = await contractRange(mpo.cores, 0, n >> 1, gemm);
  const joined = await contractRange(mpo.cores, n >> 1, n, gemm);
  const bond = left.cols;
  const width = joined.data.length / bond;
  const right = { data: joined.data, rows: bond, cols: width };
  const height = Math.max(1, Math.floor(CHUNK / width));
  let total = 0;
  for (let start = 0; start < left.rows; start += height) {
    const h = Math.min(height, left.rows - start);
    const rows = left.data.subarray(start * bond, (start + h) * bond);
    const part = (await gemm.f32({ data: rows, rows: h, cols: bond }, right)).data;
    const base = start * width;
    let sum = 0;
    for (let x = 0; x < part.length; x++)
      sum += ((tensor[base + x] as number) - (part[x] as number)) ** 2;
    total += sum;
  }
  return energy > 0 ? Math.sqrt(total / energy) : 0;
}
