/** From an operator to a LoRA pair. */
import { DotaError } from '../../protocol/errors';
import type { Gemm } from '../gemm';
import { energyOf, gram } from '../linalg/gram';
import { leadingEigen } from '../linalg/leadingEigen';
import { lowRank } from '../linalg/lowRank';
import type { LowRank } from '../linalg/lowRank';
import { contractToWeight } from './contract';
import { numericalRank } from './ranks';
import type { Mpo, Orientation } from './types';

export interface LoraPair {
  /** `lora_A` `[r, in_features]`. */
  a: Float32Array;
  /** `lora_B` `[out_features, r]`; the update is B A (alpha = r). */
  b: Float32Array;
  /** At most the rank asked for; less where the matrix has less. */
  rank: number;
  /** ||M - B A||_F / ||M||_F: what the conversion loses, 0 for a zero operator. */
  relativeError: number;
}

/** Widest side that is solved exactly. */
const EXACT_SIDE = 1024;

/**
 * The best (for sides up to 1024; else nearly best) rank-`r` pair of the matrix that `mpo` stands
 * for. A small operator has high matrix rank, so the loss is real: it is returned, to be stated.
 * The square roots of the singular values go to both sides.
 * @throws DotaError `adapter.rank`
 */
export async function toLora(
  mpo: Mpo,
  outFeatures: number,
  inFeatures: number,
  orientation: Orientation,
  r: number,
  gemm: Gemm,
): Promise<LoraPair> {
  const data = await contractToWeight(mpo, outFeatures, inFeatures, orientation, gemm);
  return matrixToLora(data, outFeatures, inFeatures, r, gemm);
}

/**
 * The same of a dense matrix.
 * @param data `[out_features, in_features]`
 * @throws DotaError `adapter.rank`
 */
export async function matrixToLora(
  data: Float32Array,
  outFeatures: number,
  inFeatures: number,
  r: number,
  gemm: Gemm,
): Promise<LoraPair> {
  const limit = Math.min(outFeatures, inFeatures);
  if (!Number.isSafeInteger(r) || r < 1 || r > limit)
    throw new DotaError(
      'adapter.rank',
      `Rank ${r} does not fit a ${outFeatures} x ${inFeatures} matrix.`,
      {
        next: `Choose a rank from 1 to ${limit}.`,
      },
    );
  const energy = energyOf(data);
  const wide = outFeatures <= inFeatures;
  const x = { data, rows: outFeatures, cols: inFeatures };
  const found =
    limit <= EXACT_SIDE
      ? await exactly(x, wide, r, gemm)
      : await lowRank(x, !wide, r, energy, 0, gemm);
  const { basis, coordinates, singularValues } = found;
  const k = basis.cols;
  // basis [side, k] and coordinates [k, other] = S V^T; both get sqrt(S).
  const root = singularValues.map(Math.sqrt);
  const left = basis.data.map((v, at) => v * (root[at % k] as number));
  const right = coordinates.data.map((v, at) => {
    const s = root[Math.floor(at / coordinates.cols)] as number;
    return s > 0 ? v / s : 0;
  });
  const pair = wide
    ? { b: left, a: right }
    : { b: transpose(right, k, outFeatures), a: transpose(left, inFeatures, k) };
  return {
    ...pair,
    rank: k,
    relativeError: energy > 0 ? Math.sqrt(found.discardedEnergy / energy) : 0,
  };
}

async function exactly(
  x: { data: Float32Array; rows: number; cols: number },
  wide: boolean,
  r: number,
  gemm: Gemm,
): Promise<LowRank> {
  const side = wide ? x.rows : x.cols;
  // Singular values below 1e-7 of the largest are rounding noise of fp32 entries.
  const { values, vectors, k } = leadingEigen(
    await gram(x, wide ? 'rows' : 'cols', gemm),
    side,
    (w) => Math.min(r, numericalRank(w, 1e-7)),
    r,
  );
  const basis = { data: Float32Array.from(vectors), rows: side, cols: k };
  const coordinates = await gemm.f32(basis, x, { transposeA: true, transposeB: !wide });
  let discardedEnergy = 0;
  for (let i = side - 1; i >= k; i--) discardedEnergy += Math.max(0, values[i] as number);
  return {
    basis,
    coordinates,
    singularValues: values.slice(0, k).map((w) => Math.sqrt(Math.max(0, w))),
    discardedEnergy,
  };
}

function transpose(data: Float32Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j] as number;
  return out;
}
