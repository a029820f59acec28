/** The truncation error by reconstruction: the check on what energy differences predict. */
import type { Gemm } from '../gemm';
import { energyOf } from '../linalg/gram';
import { contractRange } from './contract';
import { Scratch, interleaveBlock } from './interleave';
import type { WeightRows } from './interleave';
import { pairSizes, product } from './shapes';
import type { Mpo, Orientation } from './types';

/** 1 MiB of reconstructed entries at a time. */
const CHUNK = 1 << 18;

/**
 * ||W - MPO||_F / ||W||_F (0 for a zero matrix), padded places included. One value of the first row
 * digit at a time, so that neither matrix is ever whole in memory.
 */
export async function explicitError(
  weight: WeightRows,
  mpo: Mpo,
  orientation: Orientation,
  gemm: Gemm,
  scratch = new Scratch(),
): Promise<number> {
  const n = mpo.cores.length;
  const left = await contractRange(mpo.cores, 0, n >> 1, gemm);
  const joined = await contractRange(mpo.cores, n >> 1, n, gemm);
  const bond = left.cols;
  const width = joined.data.length / bond;
  const right = { data: joined.data, rows: bond, cols: width };
  const digits = mpo.shape.rows[0] ?? 1;
  const block = scratch.take(product(pairSizes(mpo.shape)) / digits);
  const rowsABlock = left.rows / digits;
  const height = Math.max(1, Math.floor(CHUNK / width));
  let total = 0;
  let energy = 0;
  for (let digit = 0; digit < digits; digit++) {
    interleaveBlock(weight, mpo.shape, orientation, digit, block);
    energy += energyOf(block);
    for (let start = 0; start < rowsABlock; start += height) {
      const h = Math.min(height, rowsABlock - start);
      const first = (digit * rowsABlock + start) * bond;
      const rows = left.data.subarray(first, first + h * bond);
      const part = (await gemm.f32({ data: rows, rows: h, cols: bond }, right)).data;
      const base = start * width;
      let sum = 0;
      for (let x = 0; x < part.length; x++)
        sum += ((block[base + x] as number) - (part[x] as number)) ** 2;
      total += sum;
    }
  }
  return energy > 0 ? Math.sqrt(total / energy) : 0;
}
