/**
 * The whole spectrum of a wide unfolding: work that can be watched and stopped (about 20 seconds at
 * side 4096 on two cores, growing with the third power of the side).
 */
import type { Gemm, Matrix } from '../gemm';
import { valuesOf } from '../linalg/eigh';
import { gram } from '../linalg/gram';
import { Reduction } from '../linalg/tridiagonal';

/** Time that may pass before others get their turn: a stop is noticed within it. */
const SLICE_MS = 50;
/** Share of the time that the Gram matrix takes, by measurement at side 4096. */
const GRAM_SHARE = 0.1;

export interface WideSpectrumHooks {
  /** Told the share of the work that is done, in [0, 1]. */
  onProgress?: (share: number) => void;
  /** Called between slices; throws to stop. */
  check?: () => void;
}

/**
 * Exact singular values of an unfolding `x` `[rows, cols]` of any width, by the fp64 Gram matrix of
 * its smaller side and a reduction to tridiagonal form (4/3 side^3 operations).
 * @returns descending, as many as the smaller side
 */
export async function wideSpectrum(
  x: Matrix<Float32Array>,
  gemm: Gemm,
  hooks: WideSpectrumHooks = {},
): Promise<Float64Array> {
  const side = Math.min(x.rows, x.cols);
  let since = performance.now();
  const pause = async (share: number): Promise<void> => {
    if (performance.now() - since < SLICE_MS) return;
    hooks.onProgress?.(share);
    // A task of its own: timers, signals and messages are served before it.
    await new Promise((resolve) => setTimeout(resolve));
    hooks.check?.();
    since = performance.now();
  };
  const g = await gram(x, x.rows <= x.cols ? 'rows' : 'cols', gemm, (share) =>
    pause(GRAM_SHARE * share),
  );
  const reduction = new Reduction(g, side);
  for (let k = 0; k < side; k++) {
    reduction.step(k);
    await pause(1 - (1 - GRAM_SHARE) * (1 - (k + 1) / side) ** 3);
  }
  return valuesOf(reduction).map((w) => Math.sqrt(Math.max(0, w)));
}
