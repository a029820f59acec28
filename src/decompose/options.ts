/** What a model's decomposition may be asked for. */
import type { RankChoice } from '../core/mpo/options';
import { chooseShape } from '../core/mpo/shapes';
import type { Gauge, MpoShape, Orientation } from '../core/mpo/types';

export type ReferenceKind = 'gaussian' | 'own_spectrum';

export interface ModelDecomposeOptions {
  /** Number of cores where `shapes` does not name the module. */
  cores: number;
  /** Row and column factors by full module path. */
  shapes?: Readonly<Record<string, MpoShape>>;
  /** Bond dimensions d_1..d_{n-1} by full module path, instead of `rank`. */
  ranks?: Readonly<Record<string, readonly number[]>>;
  /** For every module, or a number of parameters for all of them together. */
  rank: RankChoice | { budget: number };
  orientation: Orientation;
  gauge: Gauge;
  seed: number;
  /** Curves to compare with; `own_spectrum` costs a second decomposition. */
  references: readonly ReferenceKind[];
  /** Reconstruct and compare as well (about a third of the time again). */
  explicitError: boolean;
  /** Whole spectra of wide middles: about 20 seconds at side 4096. */
  exactMiddle: boolean;
}

export const defaultModelDecomposeOptions: ModelDecomposeOptions = {
  cores: 3,
  rank: { r: 8 },
  orientation: 'out',
  gauge: 'sqrt_rms',
  seed: 0,
  references: ['gaussian'],
  explicitError: false,
  exactMiddle: false,
};

/** The shape for a module `[rows, cols]`: the one given, else the chooser's. */
export function shapeFor(
  module: string,
  rows: number,
  cols: number,
  options: Pick<ModelDecomposeOptions, 'cores' | 'shapes' | 'orientation'>,
): MpoShape {
  const given = options.shapes?.[module];
  if (given !== undefined) return given;
  return options.orientation === 'out'
    ? chooseShape(rows, cols, options.cores)
    : chooseShape(cols, rows, options.cores);
}
