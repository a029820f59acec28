/** Ranks that give different methods the same number of trainable parameters. */
import type { LinearModule } from '../adapters/adapter';
import type { AdapterOptions } from '../adapters/method';
import { adapterMethods } from '../adapters/plan';
import type { Method } from '../config/runConfig';

/** Trainable parameters of the adapters of all modules, without building any of them. */
export function adapterParameters(
  method: Exclude<Method, 'full'>,
  modules: readonly LinearModule[],
  options: AdapterOptions,
): number {
  const { trainableCount } = adapterMethods[method];
  return modules.reduce((sum, module) => sum + trainableCount(module, options), 0);
}

export interface RankMatch {
  r: number;
  /** Exact count at this rank. */
  parameters: number;
}

/** Beyond this no rank of a model in use makes sense. */
const largestRank = 1 << 16;

/**
 * The rank whose parameter count is nearest to `budget`, the lower one of two that are equally near.
 * @param count parameters at rank r, not decreasing in r
 */
export function nearestRank(count: (r: number) => number, budget: number): RankMatch {
  // The smallest rank that reaches the budget; counts stop growing at the full bonds.
  let low = 1;
  let high = 1;
  while (count(high) < budget && high < largestRank) high *= 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (count(middle) >= budget) high = middle;
    else low = middle + 1;
  }
  const candidates = [...new Set([Math.max(1, low - 1), low])].map((r) => ({
    r,
    parameters: count(r),
  }));
  const distance = ({ parameters }: RankMatch): number => Math.abs(parameters - budget);
  const best = candidates.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  // A clamped count is that of many ranks: name the smallest of them.
  let { r } = best;
  while (r > 1 && count(r - 1) === best.parameters) r -= 1;
  return { r, parameters: best.parameters };
}
