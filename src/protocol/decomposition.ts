/**
 * The result of decomposing one weight matrix, as it crosses process boundaries: shapes, ranks and
 * spectra, never tensors. `dota decompose --json` reports it, the workspace caches it, tree and
 * explorer show it.
 */

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
  /** Entries of all cores. */
  parameters: number;
  references: readonly ReferenceSummary[];
  seconds: number;
}
