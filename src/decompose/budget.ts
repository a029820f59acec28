/**
 * A parameter budget for a whole model, spent where each parameter keeps most energy: over the
 * modules, and within a module over its bonds.
 */
import { fullBonds, pairSizes, parameterCount } from '../core/mpo/shapes';
import type { MpoShape } from '../core/mpo/types';
import type { BondSummary } from '../protocol/decomposition';
import { DotaError } from '../protocol/errors';

export interface BudgetModule {
  module: string;
  shape: MpoShape;
  /** ||W||_F^2. */
  energy: number;
  /** Spectra as computed; where only leading values are known, ranks stop there. */
  bonds: readonly Pick<BondSummary, 'spectrum' | 'fullDimension'>[];
}

/** A choice of bonds for one module, and what it costs and keeps. */
interface Level {
  ranks: readonly number[];
  parameters: number;
  keptEnergy: number;
}

/**
 * Estimated kept energy from the spectra of the unfoldings: the product over bonds of the share that
 * each would keep alone. Exact for one bond; between the two bounds (no tail adds, all tails add)
 * otherwise.
 */
export function estimateKeptEnergy(module: BudgetModule, ranks: readonly number[]): number {
  const shares = bondShares(module);
  return ranks.reduce((kept, d, k) => kept * shareOf(shares[k], d), module.energy);
}

/**
 * Ranks by module and bond within `budget` parameters: greedy on energy gained per parameter over
 * the concave hull of each module's curve, which is optimal up to the last step on these curves.
 * @throws DotaError `adapter.rank` when not even rank 1 everywhere fits
 */
export function allocateRanks(
  modules: readonly BudgetModule[],
  budget: number,
): ReadonlyMap<string, readonly number[]> {
  const choices = modules.map(levels);
  const curves = choices.map(hull);
  const at = curves.map(() => 0);
  let spent = curves.reduce((sum, curve) => sum + (curve[0]?.parameters ?? 0), 0);
  if (spent > budget)
    throw new DotaError(
      'adapter.rank',
      `Rank 1 at every bond takes ${spent} parameters already, the budget is ${budget}.`,
      { next: `Raise the budget to ${spent} or more, or choose fewer modules.` },
    );
  const ranks = curves.map((curve) => curve[0]?.ranks ?? []);
  // Modules whose next step no longer fits drop out; the others go on.
  const open = new Set(curves.keys());
  while (open.size > 0) {
    let best = -1;
    let bestGain = -Infinity;
    for (const m of open) {
      const gain = slope(curves[m] as Level[], at[m] as number);
      if (gain > bestGain) {
        best = m;
        bestGain = gain;
      }
    }
    const here = curves[best]?.[at[best] as number];
    const next = curves[best]?.[(at[best] as number) + 1];
    if (here === undefined || next === undefined) {
      open.delete(best);
      continue;
    }
    if (spent - here.parameters + next.parameters <= budget) {
      spent += next.parameters - here.parameters;
      ranks[best] = next.ranks;
      at[best] = (at[best] as number) + 1;
      continue;
    }
    // The hull leaps over levels; the best of those that still fit ends this module's turn.
    const limit = budget - spent + here.parameters;
    const last = (choices[best] as Level[]).reduce(
      (a, b) => (b.parameters <= limit && b.keptEnergy > a.keptEnergy ? b : a),
      here,
    );
    spent += last.parameters - here.parameters;
    ranks[best] = last.ranks;
    open.delete(best);
  }
  return new Map(modules.map((module, m) => [module.module, ranks[m] ?? []]));
}

/** Energy per parameter of the step from `k` to `k + 1`; -1 at the end. */
function slope(curve: readonly Level[], k: number): number {
  const here = curve[k];
  const next = curve[k + 1];
  if (here === undefined || next === undefined) return -1;
  return (next.keptEnergy - here.keptEnergy) / (next.parameters - here.parameters);
}

/** Per bond: the share of the energy that its d largest singular values hold, at index d. */
function bondShares(module: BudgetModule): Float64Array[] {
  const full = fullBonds(module.shape);
  return module.bonds.map((bond, k) => {
    const shares = new Float64Array(bond.spectrum.length + 1);
    let sum = 0;
    bond.spectrum.forEach((s, i) => {
      sum += s * s;
      shares[i + 1] = module.energy > 0 ? Math.min(1, sum / module.energy) : 1;
    });
    // A bond kept whole loses nothing, rounding aside.
    if (shares.length > (full[k] ?? 0)) shares[full[k] ?? 0] = 1;
    return shares;
  });
}

function shareOf(shares: Float64Array | undefined, d: number): number {
  if (shares === undefined || shares.length < 2) return 1;
  return shares[Math.min(d, shares.length - 1)] as number;
}

/**
 * The choices of one module: the same rank at all bonds, from 1 up; and the path on which always
 * that bond grows that raises the logarithm of the kept energy most per parameter.
 */
function levels(module: BudgetModule): Level[] {
  const shares = bondShares(module);
  const pairs = pairSizes(module.shape);
  const full = fullBonds(module.shape);
  // What is not known to be kept is not bought.
  const most = full.map((d, k) => Math.max(1, Math.min(d, (shares[k]?.length ?? 1) - 1)));
  const level = (ranks: readonly number[]): Level => ({
    ranks,
    parameters: parameterCount(module.shape, ranks),
    keptEnergy: ranks.reduce((kept, d, k) => kept * shareOf(shares[k], d), module.energy),
  });
  const found: Level[] = [];
  for (let rank = 1; rank <= Math.max(...most); rank++)
    found.push(level(most.map((d) => Math.min(d, rank))));
  const ranks = most.map(() => 1);
  for (;;) {
    let best = -1;
    let bestGain = 0;
    for (let k = 0; k < ranks.length; k++) {
      const d = ranks[k] as number;
      const left = (ranks[k - 1] ?? 1) * (pairs[k] ?? 1);
      const right = (ranks[k + 1] ?? 1) * (pairs[k + 1] ?? 1);
      // Beyond the sides of its unfolding a bond holds nothing.
      if (d >= Math.min(most[k] as number, left, right)) continue;
      const gain = Math.log(shareOf(shares[k], d + 1) / shareOf(shares[k], d)) / (left + right);
      if (gain > bestGain) {
        best = k;
        bestGain = gain;
      }
    }
    if (best < 0) return found;
    ranks[best] = (ranks[best] as number) + 1;
    found.push(level([...ranks]));
  }
}

/** The upper concave hull of (parameters, kept energy), from the cheapest level to the best. */
function hull(all: readonly Level[]): Level[] {
  const sorted = [...all].sort(
    (a, b) => a.parameters - b.parameters || b.keptEnergy - a.keptEnergy,
  );
  const points: Level[] = [];
  for (const level of sorted) {
    const last = points.at(-1);
    // Dearer and no better.
    if (last !== undefined && level.keptEnergy <= last.keptEnergy) continue;
    while (points.length >= 2) {
      const b = points[points.length - 1] as Level;
      const a = points[points.length - 2] as Level;
      const direct = (level.keptEnergy - a.keptEnergy) * (b.parameters - a.parameters);
      const through = (b.keptEnergy - a.keptEnergy) * (level.parameters - a.parameters);
      // Points on a straight line stay: they are smaller steps. The margin is for rounding.
      if (through >= direct * (1 - 1e-9)) break;
      points.pop();
    }
    points.push(level);
  }
  return points;
}
