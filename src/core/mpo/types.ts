/**
 * A matrix product operator (MPO): W[i, j] with i = (i_1..i_n), j = (j_1..j_n) in row-major
 * (mixed-radix) order equals the chain product of 4-way cores `T_k [d_{k-1}, i_k, j_k, d_k]`,
 * d_0 = d_n = 1.
 */

/** Which index of `W [out_features, in_features]` the cores' first physical leg i runs over. */
export type Orientation = 'out' | 'in';

export interface MpoShape {
  /** Row factors i_1..i_n; their product is the number of (padded) rows. */
  rows: readonly number[];
  /** Column factors j_1..j_n. */
  cols: readonly number[];
}

export interface Core {
  /** Row-major `[left bond, i, j, right bond]`. */
  data: Float32Array;
  shape: readonly [number, number, number, number];
}

export interface Mpo {
  shape: MpoShape;
  cores: readonly Core[];
}

/** How the singular values of the bonds are shared out; every gauge gives the same matrix. */
export type Gauge = 'left' | 'sqrt' | 'sqrt_rms';

export interface Bond {
  /** Kept dimension d_k. */
  dimension: number;
  /** min(prod_{l<=k} i_l j_l, prod_{l>k} i_l j_l): the dimension that represents W exactly. */
  fullDimension: number;
  /** Singular values in descending order, as many as were computed. */
  spectrum: Float64Array;
  /**
   * True when `spectrum` is that of the untruncated unfolding of W; false in a wide middle, where
   * the values are lower bounds (of the projected tensor's spectrum).
   */
  exactSpectrum: boolean;
  /** Discarded energy (sum of squares) at this step of the decomposition. */
  discardedEnergy: number;
}

export interface Decomposition {
  mpo: Mpo;
  bonds: readonly Bond[];
  /** ||W||_F^2 in fp64. */
  energy: number;
  /** 1 - relativeError^2. */
  keptEnergy: number;
  /** ||W - MPO||_F / ||W||_F from energy differences (exact: successive orthogonal projections). */
  relativeError: number;
  parameters: number;
  seconds: number;
}
