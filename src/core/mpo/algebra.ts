/** Arithmetic of matrix product operators on their cores, without ever forming the matrix. */
import { DotaError } from '../../protocol/errors';
import type { Gemm, Matrix } from '../gemm';
import { eigh } from '../linalg/eigh';
import { qr } from '../linalg/qr';
import { applyGauge, toSchmidt } from './gauge';
import type { WideCore } from './gauge';
import type { RankChoice } from './options';
import { countForTail, numericalRank, planRanks } from './ranks';
import type { Core, Gauge, Mpo } from './types';

/** Relative singular value below which a direction of sums of fp32 cores is rounding noise. */
const RANK_FLOOR = 1e-7;

function requireSameShape(a: Mpo, b: Mpo): void {
  const same =
    a.shape.rows.join() === b.shape.rows.join() && a.shape.cols.join() === b.shape.cols.join();
  if (!same)
    throw new DotaError('adapter.shape', 'The two operators have different shapes.', {
      where: `rows ${a.shape.rows.join()} / ${b.shape.rows.join()}, cols ${a.shape.cols.join()} / ${b.shape.cols.join()}`,
      next: 'Only operators with equal row and column factors can be combined.',
    });
}

/** `factor` times the operator; the factor goes into the first core. */
export function scale(a: Mpo, factor: number): Mpo {
  return {
    shape: a.shape,
    cores: a.cores.map((core, k) =>
      k === 0 ? { ...core, data: core.data.map((x) => x * factor) } : core,
    ),
  };
}

/**
 * a + b: bonds add up, cores are block-diagonal (side by side in the first, stacked in the last).
 * @throws DotaError `adapter.shape` when the factors differ
 */
export function add(a: Mpo, b: Mpo): Mpo {
  requireSameShape(a, b);
  const last = a.cores.length - 1;
  const cores = a.cores.map((core, k): Core => {
    const other = b.cores[k] as Core;
    const [la, i, j, ra] = core.shape;
    const [lb, , , rb] = other.shape;
    const left = k === 0 ? 1 : la + lb;
    const right = k === last ? 1 : ra + rb;
    const data = new Float32Array(left * i * j * right);
    place(data, right, core, 0, 0);
    place(data, right, other, k === 0 ? 0 : la, k === last ? 0 : ra);
    return { data, shape: [left, i, j, right] };
  });
  return { shape: a.shape, cores };
}

/** Writes a core as the block at (left, right) offsets of a larger one. */
function place(
  data: Float32Array,
  width: number,
  core: Core,
  leftOffset: number,
  rightOffset: number,
): void {
  const [left, i, j, right] = core.shape;
  const pair = i * j;
  for (let l = 0; l < left; l++)
    for (let p = 0; p < pair; p++) {
      const source = (l * pair + p) * right;
      const target = ((leftOffset + l) * pair + p) * width + rightOffset;
      data.set(core.data.subarray(source, source + right), target);
    }
}

/** a - b, with bonds that add up. */
export function subtract(a: Mpo, b: Mpo): Mpo {
  return add(a, scale(b, -1));
}

/**
 * Frobenius inner product sum_ij A_ij B_ij in fp64, by transfer matrices [bond of a, bond of b];
 * padded entries count.
 */
export async function innerProduct(a: Mpo, b: Mpo, gemm: Gemm): Promise<number> {
  requireSameShape(a, b);
  let transfer: Matrix<Float64Array> = { data: Float64Array.of(1), rows: 1, cols: 1 };
  for (const [k, coreA] of a.cores.entries()) {
    const wa = widen(coreA);
    const wb = widen(b.cores[k] as Core);
    const half = await gemm.f64(
      transfer,
      { data: wa.data, rows: wa.left, cols: wa.pair * wa.right },
      { transposeA: true },
    );
    transfer = await gemm.f64(
      { data: half.data, rows: wb.left * wa.pair, cols: wa.right },
      { data: wb.data, rows: wb.left * wb.pair, cols: wb.right },
      { transposeA: true },
    );
  }
  return transfer.data[0] ?? 0;
}

/** Frobenius norm in fp64. */
export async function norm(a: Mpo, gemm: Gemm): Promise<number> {
  return Math.sqrt(Math.max(0, await innerProduct(a, a, gemm)));
}

export interface Rounded {
  mpo: Mpo;
  bonds: number[];
  /** ||a - rounded||_F, from the discarded energies. */
  error: number;
  /** The same against ||a||_F; 0 for a zero operator. */
  relativeError: number;
}

/**
 * The operator with smaller bonds: orthogonalise left to right by QR, truncate right to left
 * (Oseledets 2011, algorithm 2). Close to the best: within sqrt(n - 1) of it.
 * @throws DotaError `adapter.rank`
 */
export async function round(
  a: Mpo,
  rank: RankChoice,
  gemm: Gemm,
  gauge: Gauge = 'sqrt_rms',
): Promise<Rounded> {
  const cores = orthogonaliseLeft(a.cores.map(widen));
  const lastCore = cores.at(-1);
  const energy = lastCore === undefined ? 0 : lastCore.data.reduce((sum, x) => sum + x * x, 0);
  const plan = planRanks(a.shape, rank, energy);
  let discarded = 0;
  for (let k = cores.length - 1; k > 0; k--) {
    const core = cores[k] as WideCore;
    const previous = cores[k - 1] as WideCore;
    const wide = { data: core.data, rows: core.left, cols: core.pair * core.right };
    const g = await gemm.f64(wide, wide, { transposeB: true });
    const { values, vectors } = eigh(g.data, core.left);
    const wished = plan.wished(k - 1) ?? countForTail(values, plan.allowance(discarded, k));
    const kept = Math.min(numericalRank(values, RANK_FLOOR), wished);
    for (let x = kept; x < core.left; x++) discarded += Math.max(0, values[x] as number);
    const basis = new Float64Array(core.left * kept);
    for (let l = 0; l < core.left; l++)
      basis.set(vectors.subarray(l * core.left, l * core.left + kept), l * kept);
    const q = { data: basis, rows: core.left, cols: kept };
    // C = U lambda V^T: this core keeps V^T, the previous one takes U lambda.
    const lambda = values.slice(0, kept).map((w) => Math.sqrt(Math.max(0, w)));
    const projected = await gemm.f64(q, wide, { transposeA: true });
    cores[k] = {
      ...core,
      left: kept,
      data: divideRows(projected.data, core.pair * core.right, lambda),
    };
    const carried = await gemm.f64(
      { data: previous.data, rows: previous.left * previous.pair, cols: previous.right },
      q,
    );
    cores[k - 1] = { ...previous, right: kept, data: scaleColumns(carried.data, lambda) };
  }
  const schmidt = await toSchmidt({ cores, center: 0 }, gemm);
  const gauged = await applyGauge(schmidt, gauge, gemm);
  const error = Math.sqrt(discarded);
  return {
    mpo: { shape: a.shape, cores: gauged.map((core, k) => narrow(core, a, k)) },
    bonds: gauged.slice(0, -1).map((core) => core.right),
    error,
    relativeError: energy > 0 ? error / Math.sqrt(energy) : 0,
  };
}

/** Left-canonical form by Householder QR, which is safe on dependent columns. */
function orthogonaliseLeft(cores: WideCore[]): WideCore[] {
  for (let k = 0; k < cores.length - 1; k++) {
    const core = cores[k] as WideCore;
    const next = cores[k + 1] as WideCore;
    const { q, r, k: kept } = qr(core.data, core.left * core.pair, core.right);
    cores[k] = { ...core, data: q, right: kept };
    const width = next.pair * next.right;
    const carried = new Float64Array(kept * width);
    for (let i = 0; i < kept; i++)
      for (let l = i; l < core.right; l++) {
        const f = r[i * core.right + l] as number;
        for (let x = 0; x < width; x++)
          carried[i * width + x] =
            (carried[i * width + x] as number) + f * (next.data[l * width + x] as number);
      }
    cores[k + 1] = { ...next, data: carried, left: kept };
  }
  return cores;
}

function divideRows(data: Float64Array, width: number, divisors: Float64Array): Float64Array {
  return data.map((x, at) => {
    const d = divisors[Math.floor(at / width)] as number;
    return d > 0 ? x / d : 0;
  });
}

function scaleColumns(data: Float64Array, factors: Float64Array): Float64Array {
  return data.map((x, at) => x * (factors[at % factors.length] as number));
}

function widen(core: Core): WideCore {
  const [left, i, j, right] = core.shape;
  return { data: Float64Array.from(core.data), left, pair: i * j, right };
}

function narrow(core: WideCore, like: Mpo, k: number): Core {
  return {
    data: Float32Array.from(core.data),
    shape: [core.left, like.shape.rows[k] ?? 1, like.shape.cols[k] ?? 1, core.right],
  };
}
