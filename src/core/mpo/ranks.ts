/** From singular values to a bond dimension. */
import { DotaError } from '../../protocol/errors';
import type { RankChoice } from './options';
import { resolveBonds } from './shapes';
import type { MpoShape } from './types';

/**
 * Tells each bond how many singular values to keep. With a tolerance, every step may discard an
 * equal share of what is left of the whole allowance, so that what one bond saves the next may use.
 */
export interface RankPlan {
  /** Wished dimension of bond k (from 0), or undefined where a tolerance decides. */
  wished(bond: number): number | undefined;
  /** Energy that the next bond may discard; 0 without a tolerance. */
  allowance(discardedSoFar: number, bondsLeft: number): number;
}

/** @throws DotaError `adapter.rank` */
export function planRanks(shape: MpoShape, rank: RankChoice, energy: number): RankPlan {
  if ('r' in rank) {
    const bonds = resolveBonds(shape, rank.r);
    return { wished: (bond) => bonds[bond], allowance: () => 0 };
  }
  const share = 'energy' in rank ? 1 - rank.energy : rank.relativeError ** 2;
  const value = 'energy' in rank ? rank.energy : rank.relativeError;
  if (!(value >= 0 && value <= 1))
    throw new DotaError('adapter.rank', `${value} is not between 0 and 1.`, {
      next: 'Give the kept energy or the relative error as a fraction.',
    });
  const total = share * energy;
  return {
    wished: () => undefined,
    allowance: (discarded, bondsLeft) => Math.max(0, total - discarded) / Math.max(1, bondsLeft),
  };
}

/** Number of leading `energies` (squared singular values, descending) whose tail is within `allowed`. */
export function countForTail(energies: Float64Array, allowed: number): number {
  let tail = 0;
  let k = energies.length;
  while (k > 1) {
    tail += Math.max(0, energies[k - 1] as number);
    if (tail > allowed) break;
    k--;
  }
  return Math.max(1, k);
}

/** Number of leading `energies` above rounding: singular values above `floor` times the largest. */
export function numericalRank(energies: Float64Array, floor: number): number {
  const least = (energies[0] ?? 0) * floor * floor;
  let k = 0;
  while (k < energies.length && (energies[k] as number) > least && (energies[k] as number) > 0) k++;
  return Math.max(1, k);
}
