/** Ranks that give different methods the same number of trainable parameters. */
import type { AdapterOptions } from '../adapters/method';
import { countTrainable } from '../adapters/plan';
import type { Method } from '../config/runConfig';
import type { DecoderConfig } from '../models/modelConfig';
import { DotaError } from '../protocol/errors';

export interface RankMatch {
  r: number;
  /** Exact count at this rank. */
  parameters: number;
}

/** Beyond this no rank of a model in use makes sense. */
const largestRank = 1 << 16;

/**
 * The rank whose parameter count is nearest to `budget`, the lower one of two that are equally near.
 * @param count parameters at rank r, not decreasing in r; infinite where r is not possible
 */
export function nearestRank(count: (r: number) => number, budget: number): RankMatch {
  // The smallest rank that reaches the budget.
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
  // Bonds are clamped one by one, so that several ranks may have one count: name the smallest.
  let { r } = best;
  while (r > 1 && count(r - 1) === best.parameters) r -= 1;
  return { r, parameters: best.parameters };
}

/**
 * The option that sizes a method, at the value that comes nearest to the budget. LoRETTA is sized by
 * the rank of its trains: its count is not monotonous in r, whose prime factors decide the modes.
 * @throws DotaError `adapter.noTarget`, `adapter.shape`
 */
export function sizeForBudget(
  method: Exclude<Method, 'full'>,
  model: DecoderConfig,
  options: AdapterOptions,
  budget: number,
): Partial<Pick<AdapterOptions, 'r' | 'tensor_rank'>> {
  const key = method === 'loretta' ? 'tensor_rank' : 'r';
  const count = (rank: number): number => {
    try {
      return countTrainable(method, model, { ...options, [key]: rank });
    } catch (error) {
      // Beyond every full bond.
      if (error instanceof DotaError && error.code === 'adapter.rank') return Infinity;
      throw error;
    }
  };
  return { [key]: nearestRank(count, budget).r };
}
