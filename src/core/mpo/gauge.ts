/**
 * Gauges of a matrix product operator. Between two cores any invertible matrix and its inverse may
 * be inserted; the three forms here give the same matrix and differ in how the cores are balanced.
 */
import type { Gemm } from '../gemm';
import { cholesky, invertUpper } from '../linalg/cholesky';
import { eigh } from '../linalg/eigh';
import { energyOf } from '../linalg/gram';
import type { Gauge } from './types';

/** A core in fp64, `[left, pair, right]` with pair = (i, j) fused. */
export interface WideCore {
  data: Float64Array;
  left: number;
  pair: number;
  right: number;
}

/**
 * Relative Schmidt value below which a bond index carries nothing but rounding; dropping it keeps
 * lambda^(-1/2) bounded and costs less than 1e-14 of the energy an index.
 */
const SCHMIDT_FLOOR = 1e-7;

/**
 * Mixed-canonical form: cores left of `center` have orthonormal columns (as `[left pair, right]`),
 * cores right of it orthonormal rows (as `[left, pair right]`).
 */
export interface Canonical {
  cores: WideCore[];
  center: number;
}

export interface Schmidt extends Canonical {
  /** Schmidt values of each bond, descending: the singular values of the represented matrix. */
  values: Float64Array[];
}

/**
 * Rotates every bond into its Schmidt basis and drops numerically empty indices. Orthogonal
 * transforms only, no division.
 */
export async function toSchmidt(canonical: Canonical, gemm: Gemm): Promise<Schmidt> {
  const cores = canonical.cores.map((core) => ({ ...core }));
  const values: Float64Array[] = new Array<Float64Array>(cores.length - 1);
  const { center } = canonical;
  for (let k = center; k < cores.length - 1; k++) {
    const weighted = k === center ? at(cores, k) : scaleLeft(at(cores, k), value(values, k - 1));
    const g = await gemm.f64(asTall(weighted), asTall(weighted), { transposeA: true });
    const basis = keptBasis(g.data, weighted.right);
    values[k] = basis.values;
    const core = at(cores, k);
    const next = at(cores, k + 1);
    const rotated = await gemm.f64(asTall(core), basis.vectors);
    cores[k] = { ...core, data: rotated.data, right: basis.vectors.cols };
    const carried = await gemm.f64(basis.vectors, asWide(next), { transposeA: true });
    cores[k + 1] = { ...next, data: carried.data, left: basis.vectors.cols };
  }
  for (let k = center; k > 0; k--) {
    const weighted = k === center ? at(cores, k) : scaleRight(at(cores, k), value(values, k));
    const g = await gemm.f64(asWide(weighted), asWide(weighted), { transposeB: true });
    const basis = keptBasis(g.data, weighted.left);
    values[k - 1] = basis.values;
    const core = at(cores, k);
    const previous = at(cores, k - 1);
    const rotated = await gemm.f64(basis.vectors, asWide(core), { transposeA: true });
    cores[k] = { ...core, data: rotated.data, left: basis.vectors.cols };
    const carried = await gemm.f64(asTall(previous), basis.vectors);
    cores[k - 1] = { ...previous, data: carried.data, right: basis.vectors.cols };
  }
  return { cores, center, values };
}

/**
 * The cores in the wished gauge:
 * - `left`: all cores but the last have orthonormal columns; the last carries the norm;
 * - `sqrt`: each bond's Schmidt values are shared as square roots by its two cores;
 * - `sqrt_rms`: `sqrt`, then scalars of product 1 that give all cores the same root mean square, so
 *   that one learning rate moves them alike under Adam.
 */
export async function applyGauge(schmidt: Schmidt, gauge: Gauge, gemm: Gemm): Promise<WideCore[]> {
  switch (gauge) {
    case 'left':
      return leftCanonical(schmidt, gemm);
    case 'sqrt':
      return squareRootSplit(schmidt);
    case 'sqrt_rms':
      return equalRms(squareRootSplit(schmidt));
  }
}

function squareRootSplit(schmidt: Schmidt): WideCore[] {
  const { center, values } = schmidt;
  const root = (k: number): Float64Array => value(values, k).map(Math.sqrt);
  const inverseRoot = (k: number): Float64Array =>
    value(values, k).map((x) => (x > 0 ? 1 / Math.sqrt(x) : 0));
  return schmidt.cores.map((core, k) => {
    let out = core;
    // A core left of the centre lacks its right bond's values, one right of it its left bond's;
    // the centre holds both.
    if (k > 0) out = scaleLeft(out, k <= center ? inverseRoot(k - 1) : root(k - 1));
    if (k < schmidt.cores.length - 1) out = scaleRight(out, k < center ? root(k) : inverseRoot(k));
    return out;
  });
}

async function leftCanonical(schmidt: Schmidt, gemm: Gemm): Promise<WideCore[]> {
  const cores = [...schmidt.cores];
  for (let k = schmidt.center; k < cores.length - 1; k++) {
    const core = at(cores, k);
    // In the Schmidt basis the centre's columns are orthogonal with norms lambda_k.
    const lambda = value(schmidt.values, k);
    const unit = scaleRight(
      core,
      lambda.map((x) => (x > 0 ? 1 / x : 0)),
    );
    const polished = await polish(unit, gemm);
    cores[k] = polished.core;
    const next = at(cores, k + 1);
    const carried = await gemm.f64(
      { data: polished.factor, rows: core.right, cols: core.right },
      asWide(scaleLeft(next, lambda)),
    );
    cores[k + 1] = { ...next, data: carried.data };
  }
  return cores;
}

/** Exact orthonormal columns of a core whose columns are nearly so: one Cholesky QR step. */
async function polish(
  core: WideCore,
  gemm: Gemm,
): Promise<{ core: WideCore; factor: Float64Array }> {
  const n = core.right;
  const g = await gemm.f64(asTall(core), asTall(core), { transposeA: true });
  const r = cholesky(g.data, n, 1e-14);
  if (r === undefined) {
    // Only the zero matrix has a zero column here; it stays as it is.
    const identity = new Float64Array(n * n);
    for (let i = 0; i < n; i++) identity[i * n + i] = 1;
    return { core, factor: identity };
  }
  const q = await gemm.f64(asTall(core), { data: invertUpper(r, n), rows: n, cols: n });
  return { core: { ...core, data: q.data }, factor: r };
}

function equalRms(cores: WideCore[]): WideCore[] {
  const rms = cores.map((core) => Math.sqrt(energyOf(core.data) / core.data.length));
  if (rms.some((x) => x === 0)) return cores;
  const mean = Math.exp(rms.reduce((sum, x) => sum + Math.log(x), 0) / rms.length);
  return cores.map((core, k) => {
    const factor = mean / (rms[k] ?? 1);
    return { ...core, data: core.data.map((x) => x * factor) };
  });
}

/** Leading eigenvectors of a Gram matrix whose Schmidt value is above the floor; at least one. */
function keptBasis(
  g: Float64Array,
  n: number,
): { values: Float64Array; vectors: { data: Float64Array; rows: number; cols: number } } {
  const { values, vectors } = eigh(g, n);
  const lambda = values.map((x) => Math.sqrt(Math.max(0, x)));
  const floor = (lambda[0] ?? 0) * SCHMIDT_FLOOR;
  let kept = 1;
  while (kept < n && (lambda[kept] as number) > floor) kept++;
  const data = new Float64Array(n * kept);
  for (let i = 0; i < n; i++) data.set(vectors.subarray(i * n, i * n + kept), i * kept);
  return { values: lambda.slice(0, kept), vectors: { data, rows: n, cols: kept } };
}

function asTall(core: WideCore): { data: Float64Array; rows: number; cols: number } {
  return { data: core.data, rows: core.left * core.pair, cols: core.right };
}

function asWide(core: WideCore): { data: Float64Array; rows: number; cols: number } {
  return { data: core.data, rows: core.left, cols: core.pair * core.right };
}

function scaleLeft(core: WideCore, factors: Float64Array): WideCore {
  const width = core.pair * core.right;
  const data = new Float64Array(core.data.length);
  for (let l = 0; l < core.left; l++) {
    const f = factors[l] as number;
    for (let x = l * width; x < (l + 1) * width; x++) data[x] = (core.data[x] as number) * f;
  }
  return { ...core, data };
}

function scaleRight(core: WideCore, factors: Float64Array): WideCore {
  const data = new Float64Array(core.data.length);
  for (let x = 0; x < data.length; x += core.right)
    for (let r = 0; r < core.right; r++)
      data[x + r] = (core.data[x + r] as number) * (factors[r] as number);
  return { ...core, data };
}

function at(cores: readonly WideCore[], k: number): WideCore {
  const core = cores[k];
  if (core === undefined) throw new Error(`No core ${k}.`);
  return core;
}

function value(values: readonly Float64Array[], k: number): Float64Array {
  const v = values[k];
  if (v === undefined) throw new Error(`No Schmidt values at bond ${k}.`);
  return v;
}
