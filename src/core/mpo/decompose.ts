/**
 * Truncated MPO of a weight matrix, outside-in: at each step the smaller of the two outer unfoldings
 * is compressed, exactly through an fp64 Gram matrix while its side is small, by block Krylov
 * iteration in a wide middle. Every step projects orthogonally, so the squared errors add up to the
 * exact truncation error (Oseledets, "Tensor-train decomposition", 2011, for the left-to-right
 * order).
 */
import { DotaError } from '../../protocol/errors';
import type { Gemm, Matrix } from '../gemm';
import { eigenvalues } from '../linalg/eigh';
import { energyOf, gram } from '../linalg/gram';
import { leadingEigen } from '../linalg/leadingEigen';
import { lowRank } from '../linalg/lowRank';
import { applyGauge, toSchmidt } from './gauge';
import type { WideCore } from './gauge';
import { interleave, rowsOf } from './interleave';
import type { WeightRows } from './interleave';
import type { DecomposeOptions } from './options';
import { countForTail, numericalRank, planRanks } from './ranks';
import type { RankPlan } from './ranks';
import { fullBonds, pairSizes, parameterCount, product, validateShape } from './shapes';
import type { Bond, Core, Decomposition, MpoShape } from './types';
import { wideSpectrum } from './wideSpectrum';

const DEFAULT_EXACT_SIDE = 512;
const MAX_EXACT_SIDE = 1024;
/** Relative singular value below which a direction of fp32 data is rounding noise. */
const RANK_FLOOR = 1e-7;

/** One bond's outcome: an orthonormal basis of the compressed side and the tensor in it. */
interface Step {
  /** `[side, kept]` orthonormal columns, or undefined when the whole side is kept. */
  basis: Matrix<Float32Array> | undefined;
  /** The tensor with the compressed side replaced by the basis; undefined when unchanged. */
  projected: Float32Array | undefined;
  kept: number;
  /** Singular values, descending. */
  spectrum: Float64Array;
  /** False for the lower bounds of a randomised step. */
  exact: boolean;
  discardedEnergy: number;
}

/**
 * Decomposes `weight` `[rows, cols]` (row-major, HF `[out_features, in_features]`).
 * The cores describe W for orientation `out` and W^T for `in`.
 * @throws DotaError `adapter.shape`, `adapter.rank`, `train.nonFinite`, `run.stopped`
 */
export async function decompose(
  weight: Float32Array,
  rows: number,
  cols: number,
  options: DecomposeOptions,
  gemm: Gemm,
): Promise<Decomposition> {
  return decomposeRows(rowsOf(weight, rows, cols), options, gemm);
}

/** {@link decompose} of a weight that is widened row by row: one fp32 copy less in memory. */
export async function decomposeRows(
  weight: WeightRows,
  options: DecomposeOptions,
  gemm: Gemm,
): Promise<Decomposition> {
  const started = performance.now();
  const { shape } = options;
  const orientation = options.orientation ?? 'out';
  if (orientation === 'out') validateShape(shape, weight.outFeatures, weight.inFeatures);
  else validateShape(shape, weight.inFeatures, weight.outFeatures);
  const sweep = OutsideIn.start(weight, options, gemm);
  const { energy } = sweep;
  await sweep.run();
  const bonds = sweep.bonds();

  const schmidt = await toSchmidt({ cores: sweep.cores(), center: sweep.center }, gemm);
  const wide = await applyGauge(schmidt, options.gauge ?? 'sqrt_rms', gemm);
  const cores = wide.map((core, k): Core => toCore(core, shape, k));
  // Indices that carry nothing were dropped on the way to the Schmidt form.
  bonds.forEach((bond, k) => (bond.dimension = cores[k]?.shape[3] ?? 1));
  const discarded = bonds.reduce((sum, b) => sum + b.discardedEnergy, 0);
  const relativeError = energy > 0 ? Math.sqrt(discarded / energy) : 0;
  return {
    mpo: { shape, cores },
    bonds,
    energy,
    keptEnergy: 1 - relativeError ** 2,
    relativeError,
    parameters: parameterCount(
      shape,
      bonds.map((b) => b.dimension),
    ),
    seconds: (performance.now() - started) / 1000,
  };
}

function toCore(core: WideCore, shape: MpoShape, k: number): Core {
  return {
    data: Float32Array.from(core.data),
    shape: [core.left, shape.rows[k] ?? 1, shape.cols[k] ?? 1, core.right],
  };
}

/** The sweep's state: finished cores on both sides, and the tensor that is left between them. */
class OutsideIn {
  private first = 0;
  private last: number;
  private leftBond = 1;
  private rightBond = 1;
  private discarded = 0;
  private readonly pairs: number[];
  private readonly done: (WideCore | undefined)[];
  private readonly found: (Bond | undefined)[];
  private readonly plan: RankPlan;
  private readonly exactSide: number;
  /** True once a step has thrown something away: later spectra are those of a projected tensor. */
  private truncated = false;

  /**
   * Permutes the weight into the sweep's own tensor. Nobody else holds it, so that it can be freed
   * as soon as a projection replaces it.
   */
  static start(weight: WeightRows, options: DecomposeOptions, gemm: Gemm): OutsideIn {
    const { shape, orientation = 'out', scratch } = options;
    const { tensor, energy } = interleave(weight, shape, orientation, scratch);
    if (!Number.isFinite(energy))
      throw new DotaError('train.nonFinite', 'The weight holds values that are not finite.', {
        next: 'Check the file; such a tensor cannot be decomposed.',
      });
    return new OutsideIn(tensor, shape, energy, options, gemm);
  }

  private constructor(
    private tensor: Float32Array,
    shape: MpoShape,
    readonly energy: number,
    private readonly options: DecomposeOptions,
    private readonly gemm: Gemm,
  ) {
    this.pairs = pairSizes(shape);
    this.last = this.pairs.length - 1;
    this.done = this.pairs.map(() => undefined);
    this.found = fullBonds(shape).map((fullDimension) => ({
      dimension: fullDimension,
      fullDimension,
      spectrum: new Float64Array(0),
      exactSpectrum: false,
      discardedEnergy: 0,
    }));
    this.plan = planRanks(shape, options.rank, energy);
    this.exactSide = Math.min(MAX_EXACT_SIDE, options.exactSide ?? DEFAULT_EXACT_SIDE);
  }

  get center(): number {
    return this.first;
  }

  bonds(): Bond[] {
    return this.found.filter((b) => b !== undefined);
  }

  cores(): WideCore[] {
    return this.done.filter((c) => c !== undefined);
  }

  async run(): Promise<void> {
    if (this.options.spectra === 'all' || this.options.exactMiddle) await this.untruncatedSpectra();
    while (this.first < this.last) {
      this.checkSignal();
      await this.compressOneSide();
    }
    this.done[this.first] = {
      data: Float64Array.from(this.tensor),
      left: this.leftBond,
      pair: this.pairs[this.first] ?? 1,
      right: this.rightBond,
    };
  }

  private checkSignal(): void {
    if (this.options.signal?.aborted)
      throw new DotaError('run.stopped', 'The decomposition was stopped.', {
        next: 'Start it again; finished modules are kept.',
      });
  }

  private async compressOneSide(): Promise<void> {
    const leftSide = this.leftBond * (this.pairs[this.first] ?? 1);
    const rightSide = (this.pairs[this.last] ?? 1) * this.rightBond;
    const fromLeft = leftSide <= rightSide;
    const side = Math.min(leftSide, rightSide);
    const bond = fromLeft ? this.first : this.last - 1;
    const other = this.tensor.length / side;
    const unfolding = fromLeft
      ? { data: this.tensor, rows: side, cols: other }
      : { data: this.tensor, rows: other, cols: side };
    const step = await this.split(unfolding, fromLeft, side, bond);
    this.record(bond, step);
    this.discarded += step.discardedEnergy;
    if (step.kept < side) this.truncated = true;
    if (step.projected !== undefined) this.tensor = step.projected;
    if (fromLeft) {
      this.done[this.first] = {
        data: basisRows(step, side),
        left: this.leftBond,
        pair: this.pairs[this.first] ?? 1,
        right: step.kept,
      };
      this.leftBond = step.kept;
      this.first++;
    } else {
      this.done[this.last] = {
        data: transposed(basisRows(step, side), side, step.kept),
        left: step.kept,
        pair: this.pairs[this.last] ?? 1,
        right: this.rightBond,
      };
      this.rightBond = step.kept;
      this.last--;
    }
  }

  /** Keeps an exact spectrum of the untruncated unfolding where one was computed beforehand. */
  private record(bond: number, step: Step): void {
    const found = this.found[bond];
    if (found === undefined) return;
    found.discardedEnergy = step.discardedEnergy;
    found.dimension = step.kept;
    if (found.exactSpectrum) return;
    found.spectrum = step.spectrum;
    found.exactSpectrum = step.exact && !this.truncated;
  }

  private async split(
    x: Matrix<Float32Array>,
    fromLeft: boolean,
    side: number,
    bond: number,
  ): Promise<Step> {
    const wished = this.plan.wished(bond);
    if (side <= this.exactSide) return this.splitExactly(x, fromLeft, side, wished);
    if (wished !== undefined) {
      if (wished >= side) return this.splitExactly(x, fromLeft, side, wished);
      return this.splitByKrylov(x, fromLeft, wished);
    }
    return this.splitToTolerance(x, fromLeft, side);
  }

  private async splitExactly(
    x: Matrix<Float32Array>,
    fromLeft: boolean,
    side: number,
    wished: number | undefined,
  ): Promise<Step> {
    const g = await gram(x, fromLeft ? 'rows' : 'cols', this.gemm);
    const count = (values: Float64Array): number =>
      Math.min(numericalRank(values, RANK_FLOOR), wished ?? countForTail(values, this.allowance()));
    const summary = (values: Float64Array, kept: number): Omit<Step, 'basis' | 'projected'> => {
      let discardedEnergy = 0;
      for (let k = side - 1; k >= kept; k--) discardedEnergy += Math.max(0, values[k] as number);
      const spectrum = values.map((w) => Math.sqrt(Math.max(0, w)));
      return { kept, spectrum, exact: true, discardedEnergy };
    };
    if (wished !== undefined && wished >= side) {
      // Nothing to cut unless the matrix is rank-deficient: no vectors are needed to see that.
      const values = eigenvalues(g, side);
      if (count(values) === side)
        return { ...summary(values, side), basis: undefined, projected: undefined };
    }
    const { values, vectors, k: kept } = leadingEigen(g, side, count, wished);
    const base = summary(values, kept);
    if (kept === side) return { ...base, basis: undefined, projected: undefined };
    const basis = { data: Float32Array.from(vectors), rows: side, cols: kept };
    const projected = fromLeft
      ? await this.gemm.f32(basis, x, { transposeA: true })
      : await this.gemm.f32(x, basis);
    return { ...base, basis, projected: projected.data };
  }

  private async splitByKrylov(
    x: Matrix<Float32Array>,
    fromLeft: boolean,
    wished: number,
  ): Promise<Step> {
    const seed = (this.options.seed ?? 0) + this.first * 7919 + this.last;
    // The energy of the data as it stands: differences of the running total would carry rounding.
    const energy = energyOf(x.data);
    const found = await lowRank(x, !fromLeft, wished, energy, seed, this.gemm);
    const { basis, coordinates } = found;
    return {
      basis,
      projected: fromLeft
        ? coordinates.data
        : transposedF32(coordinates.data, coordinates.rows, coordinates.cols),
      kept: basis.cols,
      spectrum: found.singularValues,
      exact: false,
      discardedEnergy: found.discardedEnergy,
    };
  }

  /** Doubles the rank of a wide middle until the tail fits, then cuts back to what is needed. */
  private async splitToTolerance(
    x: Matrix<Float32Array>,
    fromLeft: boolean,
    side: number,
  ): Promise<Step> {
    const allowed = this.allowance();
    for (let r = 64; 2 * r < side; r *= 2) {
      const step = await this.splitByKrylov(x, fromLeft, r);
      if (step.discardedEnergy > allowed && step.kept === r) continue;
      const energies = step.spectrum.map((s) => s * s);
      const kept = countForTail(energies, allowed - step.discardedEnergy);
      return kept === step.kept ? step : this.splitByKrylov(x, fromLeft, kept);
    }
    return this.splitExactly(x, fromLeft, side, undefined);
  }

  private allowance(): number {
    return this.plan.allowance(this.discarded, this.last - this.first);
  }

  private async untruncatedSpectra(): Promise<void> {
    const [firstPair = 1] = this.pairs;
    const lastPair = this.pairs.at(-1) ?? 1;
    // The sweep's first step sees the untruncated tensor anyway.
    const first = firstPair <= lastPair ? 0 : this.found.length - 1;
    for (const [k, bond] of this.found.entries()) {
      const left = product(this.pairs.slice(0, k + 1));
      const right = this.tensor.length / left;
      const widest = this.options.exactMiddle
        ? Infinity
        : (this.options.exactSide ?? MAX_EXACT_SIDE);
      if (bond === undefined || Math.min(left, right) > widest) continue;
      if (k === first && Math.min(left, right) <= this.exactSide) continue;
      this.checkSignal();
      const x = { data: this.tensor, rows: left, cols: right };
      const { onProgress } = this.options;
      bond.spectrum = await wideSpectrum(x, this.gemm, {
        ...(onProgress === undefined ? {} : { onProgress }),
        check: () => {
          this.checkSignal();
        },
      });
      bond.exactSpectrum = true;
    }
  }
}

/** The step's basis `[side, kept]` in fp64; the identity when the whole side is kept. */
function basisRows(step: Step, side: number): Float64Array {
  if (step.basis !== undefined) return Float64Array.from(step.basis.data);
  const identity = new Float64Array(side * side);
  for (let i = 0; i < side; i++) identity[i * side + i] = 1;
  return identity;
}

function transposed(data: Float64Array, rows: number, cols: number): Float64Array {
  const out = new Float64Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j] as number;
  return out;
}

function transposedF32(data: Float32Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j] as number;
  return out;
}
