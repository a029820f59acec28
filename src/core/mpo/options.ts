/** What a decomposition may be asked for. */
import type { Scratch } from './interleave';
import type { Gauge, MpoShape, Orientation } from './types';

/**
 * How bond dimensions are chosen: a number for all bonds (clamped to each full bond) or a list, the
 * share of ||W||_F^2 to keep, or the relative Frobenius error to stay within.
 */
export type RankChoice =
  { r: number | readonly number[] } | { energy: number } | { relativeError: number };

export interface DecomposeOptions {
  /** Of the matrix that the cores describe: W for `out`, W^T for `in`; padded where larger. */
  shape: MpoShape;
  rank: RankChoice;
  /** Default `out`. */
  orientation?: Orientation;
  /** Default `sqrt_rms`. */
  gauge?: Gauge;
  /** Seed of the random probes in wide middles (default 0). */
  seed?: number;
  /**
   * Widest side of an unfolding that goes through an exact Gram matrix, at most 1024. By default 512
   * where a cut is decided (block Krylov is faster beyond) and 1024 where `spectra` asks for values
   * alone.
   */
  exactSide?: number;
  /**
   * `all`: exact spectra of the untruncated unfoldings wherever the side allows, at the cost of one
   * more Gram matrix a bond; `steps` (default): what the decomposition computes on its way.
   */
  spectra?: 'steps' | 'all';
  /** `all`, and the wide middles too: about 20 seconds at side 4096 (default false). */
  exactMiddle?: boolean;
  /** Reused for the permuted weight where many matrices are decomposed in turn. */
  scratch?: Scratch;
  /** Share in [0, 1] of an untruncated spectrum that takes long; several times a second. */
  onProgress?: (share: number) => void;
  signal?: AbortSignal;
}
