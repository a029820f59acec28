/** A rank that no bond can take is a mistake, not a wish for everything. */
import { fullBonds } from '../core/mpo/shapes';
import { DotaError } from '../protocol/errors';
import type { LinearModule } from './adapter';
import type { AdapterOptions } from './method';
import { mpoSpec } from './mpoShape';

/**
 * `r` is clamped bond by bond, and bonds near the ends of a chain are small: only an `r` beyond
 * every bond of every module is refused.
 * @throws DotaError `adapter.rank`, `adapter.shape`
 */
export function checkMpoRank(modules: readonly LinearModule[], options: AdapterOptions): void {
  let largest = 0;
  let where = '';
  for (const module of modules) {
    const full = Math.max(...fullBonds(mpoSpec(module, options).shape));
    if (full > largest) [largest, where] = [full, module.path];
  }
  if (options.r <= largest) return;
  throw new DotaError(
    'adapter.rank',
    `Rank ${options.r} is beyond every full bond dimension; the largest is ${largest} (${where}).`,
    {
      where: 'adapter.r',
      next: `Choose at most ${largest}, which represents every weight exactly. "dota decompose" shows what smaller ranks keep.`,
    },
  );
}
