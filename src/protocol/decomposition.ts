/**
 * The result of decomposing one weight matrix, as it crosses process boundaries: shapes, ranks and
 * spectra, never tensors. `dota decompose --json` reports it, the workspace caches it, tree and
 * explorer show it.
 */

import type { SerializedError } from './errors';
import { isBoolean, isNumber, isObject, isOneOf, isOptional, isString } from './guards';

export interface BondSummary {
  /** Kept dimension d_k. */
  dimension: number;
  /** min(prod_{l<=k} i_l j_l, prod_{l>k} i_l j_l): the dimension that represents W exactly. */
  fullDimension: number;
  /** Singular values in descending order, as many as were computed. */
  spectrum: Float64Array;
  /**
   * True when `spectrum` is the whole spectrum of the untruncated unfolding of W; false in a wide
   * middle, where the values are lower bounds (Ritz values of the projected tensor).
   */
  exactSpectrum: boolean;
  /** Sum of squares discarded at this step of the decomposition. */
  discardedEnergy: number;
}

/** A random matrix decomposed at the same shape and ranks, to judge how much structure W has. */
export interface ReferenceSummary {
  /**
   * `gaussian`: independent entries of W's shape and norm; `own_spectrum`: W's own singular values
   * between random orthogonal factors.
   */
  kind: 'gaussian' | 'own_spectrum';
  /** 1 - (relative error)^2 at the same ranks. */
  keptEnergy: number;
  /** Per bond, scaled to W's norm: singular values in descending order. */
  spectra: readonly Float64Array[];
}

export interface ModuleDecomposition {
  /** Full module path, e.g. `model.layers.0.self_attn.q_proj`. */
  module: string;
  /** out_features, in_features of the stored matrix. */
  rows: number;
  cols: number;
  /** Row and column factors after zero-padding; products may exceed rows/cols. */
  rowFactors: readonly number[];
  colFactors: readonly number[];
  orientation: 'out' | 'in';
  /** `[left bond, i, j, right bond]` of every core. */
  cores: readonly (readonly [number, number, number, number])[];
  /** One fewer than cores. */
  bonds: readonly BondSummary[];
  /** ||W||_F^2. */
  energy: number;
  /** 1 - relativeError^2. */
  keptEnergy: number;
  /** ||W - MPO||_F / ||W||_F. */
  relativeError: number;
  /** The same by reconstruction, where it was asked for. */
  explicitError?: number;
  /** Entries of all cores. */
  parameters: number;
  references: readonly ReferenceSummary[];
  seconds: number;
}

/** A spectrum as plain numbers: the form in JSON files and in `--json` output. */
type Plain<T> = T extends Float64Array
  ? readonly number[]
  : T extends readonly (infer U)[]
    ? readonly Plain<U>[]
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;

export type ModuleDecompositionJson = Omit<ModuleDecomposition, 'bonds' | 'references'> & {
  bonds: readonly Plain<BondSummary>[];
  references: readonly Plain<ReferenceSummary>[];
};

/** Seven digits: more than fp32 weights determine, and half the file size. */
function plain(values: Float64Array): number[] {
  return Array.from(values, (x) => Number(x.toPrecision(7)));
}

export function encodeDecomposition(result: ModuleDecomposition): ModuleDecompositionJson {
  return {
    ...result,
    bonds: result.bonds.map((b) => ({ ...b, spectrum: plain(b.spectrum) })),
    references: result.references.map((r) => ({ ...r, spectra: r.spectra.map(plain) })),
  };
}

export function decodeDecomposition(json: ModuleDecompositionJson): ModuleDecomposition {
  return {
    ...json,
    bonds: json.bonds.map((b) => ({ ...b, spectrum: Float64Array.from(b.spectrum) })),
    references: json.references.map((r) => ({
      ...r,
      spectra: r.spectra.map((s) => Float64Array.from(s)),
    })),
  };
}

/**
 * A result from outside the process: a line of the trainer, or a cache in the workspace. What it says
 * is checked before it is shown.
 * @returns undefined for anything that is no whole result
 */
export function parseDecomposition(raw: unknown): ModuleDecomposition | undefined {
  if (!isObject(raw) || !isString(raw.module) || !isOneOf(['out', 'in'], raw.orientation))
    return undefined;
  const whole =
    [raw.rows, raw.cols, raw.energy, raw.keptEnergy, raw.relativeError, raw.parameters].every(
      isNumber,
    ) &&
    isNumber(raw.seconds) &&
    isOptional(isNumber, raw.explicitError) &&
    isNumbers(raw.rowFactors) &&
    isNumbers(raw.colFactors) &&
    isList(raw.cores, (core) => isNumbers(core) && core.length === 4) &&
    isList(
      raw.bonds,
      (b) =>
        isObject(b) &&
        Number.isInteger(b.dimension) &&
        Number.isInteger(b.fullDimension) &&
        isNumbers(b.spectrum) &&
        isBoolean(b.exactSpectrum) &&
        isNumber(b.discardedEnergy),
    ) &&
    isList(
      raw.references,
      (r) =>
        isObject(r) &&
        isOneOf(['gaussian', 'own_spectrum'], r.kind) &&
        isNumber(r.keptEnergy) &&
        isList(r.spectra, isNumbers),
    );
  return whole ? decodeDecomposition(raw as unknown as ModuleDecompositionJson) : undefined;
}

function isList(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem);
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isNumber);
}

/**
 * An exact spectrum does not depend on ranks: one that took long is kept when the same matrix is
 * decomposed again at others.
 */
export function withExactSpectra(
  result: ModuleDecomposition,
  before: ModuleDecomposition | undefined,
): ModuleDecomposition {
  const same =
    before?.energy === result.energy &&
    before.orientation === result.orientation &&
    before.rowFactors.join() === result.rowFactors.join() &&
    before.colFactors.join() === result.colFactors.join();
  if (!same) return result;
  const bonds = result.bonds.map((bond, k) => {
    const old = before.bonds[k];
    if (bond.exactSpectrum || old?.exactSpectrum !== true) return bond;
    return { ...bond, spectrum: old.spectrum, exactSpectrum: true };
  });
  return { ...result, bonds };
}

/** The one object that `dota decompose --json` prints. */
export interface DecomposeReport {
  modules: readonly ModuleDecompositionJson[];
  failures: readonly { module: string; error: SerializedError }[];
  /** Modules by energy kept beyond the references, most first. */
  structure: readonly {
    module: string;
    score: number;
    keptEnergy: number;
    /** Parameters of the cores over those of the matrix. */
    compression: number;
  }[];
  /** Entries of all cores of all modules. */
  parameters: number;
  /** File that the cores were written to. */
  out?: string;
  seconds: number;
  peak_rss_mb: number;
}

/** A line of `dota decompose --stream`, printed as soon as a module is ready. */
export type DecomposeEvent =
  | {
      type: 'module';
      done: number;
      total: number;
      /** Name of the entry in the cache, where there is one; whether it was there before. */
      key?: string;
      cached: boolean;
      result: ModuleDecompositionJson;
    }
  /** A whole spectrum that takes long: `share` of it is done. */
  | { type: 'spectrum'; module: string; share: number }
  | { type: 'failure'; module: string; error: SerializedError };
