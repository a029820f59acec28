/** Shape and bonds of one module's MPO, from the configuration. */
import { chooseShape, fullBonds, resolveBonds, validateShape } from '../core/mpo/shapes';
import type { Core, MpoShape } from '../core/mpo/types';
import { DotaError } from '../protocol/errors';
import type { LinearModule } from './adapter';
import type { AdapterOptions } from './method';
import { matchPattern } from './targets';

export interface MpoSpec {
  shape: MpoShape;
  /** d_1 .. d_{n-1} */
  bonds: readonly number[];
}

/**
 * `r` is clamped to each full bond; a rank that `rank_pattern` asks for by name is not.
 * @throws DotaError `adapter.shape`, `adapter.rank`
 */
export function mpoSpec(module: LinearModule, options: AdapterOptions): MpoSpec {
  const { outFeatures, inFeatures } = module;
  const [rows, cols] =
    options.orientation === 'out' ? [outFeatures, inFeatures] : [inFeatures, outFeatures];
  const given = matchPattern(options.mpo_shapes, module.path, 'mpo_shapes');
  if (given) validateShape(given.value, rows, cols);
  const shape = given?.value ?? chooseShape(rows, cols, options.mpo_cores);
  const pattern = matchPattern(options.rank_pattern, module.path, 'rank_pattern');
  if (pattern) checkPattern(pattern, module.path, shape);
  return { shape, bonds: resolveBonds(shape, pattern?.value ?? options.r) };
}

function checkPattern(
  { key, value }: { key: string; value: number | readonly number[] },
  path: string,
  shape: MpoShape,
): void {
  const full = fullBonds(shape);
  const where = `adapter.rank_pattern["${key}"]`;
  if (typeof value === 'number') {
    const largest = Math.max(...full);
    if (value <= largest) return;
    throw new DotaError(
      'adapter.rank',
      `Rank ${value} exceeds the full bond ${largest} of ${path}.`,
      { where, next: `Choose at most ${largest}, which represents the weight exactly.` },
    );
  }
  if (value.length !== full.length) {
    throw new DotaError(
      'adapter.rank',
      `${value.length} ranks for the ${full.length} bonds (${full.length + 1} cores) of ${path}.`,
      { where, next: `Give one rank, or ${full.length} of them.` },
    );
  }
  if (value.every((rank, k) => rank <= (full[k] ?? 0))) return;
  throw new DotaError(
    'adapter.rank',
    `Ranks ${value.join(', ')} exceed the full bonds ${full.join(', ')} of ${path}.`,
    { where, next: `Choose at most ${full.join(', ')}, which represent the weight exactly.` },
  );
}

/** Shapes of the cores, `[left bond, i, j, right bond]`. */
export function coreShapes({ shape, bonds }: MpoSpec): Core['shape'][] {
  return shape.rows.map((rows, k) => [bonds[k - 1] ?? 1, rows, shape.cols[k] ?? 1, bonds[k] ?? 1]);
}
