/** Shape and bonds of one module's MPO, from the configuration. */
import { chooseShape, fullBonds, resolveBonds, validateShape } from '../core/mpo/shapes';
import type { MpoShape } from '../core/mpo/types';
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
  const largest = Math.max(...fullBonds(shape));
  if (pattern && pattern.value > largest) {
    throw new DotaError(
      'adapter.rank',
      `Rank ${pattern.value} exceeds the full bond ${largest} of ${module.path}.`,
      {
        where: `adapter.rank_pattern["${pattern.key}"]`,
        next: `Choose at most ${largest}, which represents the weight exactly.`,
      },
    );
  }
  return { shape, bonds: resolveBonds(shape, pattern?.value ?? options.r) };
}
