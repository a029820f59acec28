/** A parameter budget for a whole model, spent where each parameter keeps most energy. */
import { fullBonds, parameterCount } from '../core/mpo/shapes';
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

interface Level {
  rank: number;
  parameters: number;
  keptEnergy: number;
}

/**
 * Estimated kept energy at rank r from the spectra of the unfoldings: the product over bonds of the
 * share that each would keep alone. Exact for one bond; between the two bounds (no tail adds, all
 * tails add) otherwise.
 */
export function estimateKeptEnergy(module: BudgetModule, rank: number): number {
  return module.bonds.reduce((share, bond) => {
    const kept = Math.min(rank, bond.fullDimension);
    if (kept >= bond.fullDimension || module.energy === 0) return share;
    let sum = 0;
    for (let k = 0; k < Math.min(kept, bond.spectrum.length); k++)
      sum += (bond.spectrum[k] as number) ** 2;
    return share * Math.min(1, sum / module.energy);
  }, module.energy);
}

/**
 * Ranks by module within `budget` parameters: greedy on energy gained per parameter over the concave
 * hull of each module's curve, which is optimal up to the last step. One rank a module, as
 * `rank_pattern` holds it.
 * @throws DotaError `adapter.rank` when not even rank 1 everywhere fits
 */
export function allocateRanks(
  modules: readonly BudgetModule[],
  budget: number,
): ReadonlyMap<string, number> {
  const curves = modules.map(hull);
  const at = curves.map(() => 0);
  let spent = curves.reduce((sum, curve) => sum + (curve[0]?.parameters ?? 0), 0);
  if (spent > budget)
    throw new DotaError(
      'adapter.rank',
      `${modules.length} modules at rank 1 take ${spent} parameters, the budget is ${budget}.`,
      { next: `Raise the budget to ${spent} or more, or choose fewer modules.` },
    );
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
    const curve = curves[best];
    const here = curve?.[at[best] as number];
    const next = curve?.[(at[best] as number) + 1];
    if (curve === undefined || here === undefined || next === undefined) {
      open.delete(best);
      continue;
    }
    const cost = next.parameters - here.parameters;
    if (spent + cost > budget) {
      // The hull may leap over ranks; the best of those that still fit ends this module's turn.
      const last = within(modules[best] as BudgetModule, here, budget - spent);
      spent += last.parameters - here.parameters;
      curve.splice((at[best] as number) + 1, Infinity, last);
      at[best] = (at[best] as number) + 1;
      open.delete(best);
      continue;
    }
    spent += cost;
    at[best] = (at[best] as number) + 1;
  }
  return new Map(
    modules.map((module, m) => [module.module, curves[m]?.[at[m] as number]?.rank ?? 1]),
  );
}

/** Energy per parameter of the step from `k` to `k + 1`; -1 at the end. */
function slope(curve: readonly Level[], k: number): number {
  const here = curve[k];
  const next = curve[k + 1];
  if (here === undefined || next === undefined) return -1;
  return (next.keptEnergy - here.keptEnergy) / (next.parameters - here.parameters);
}

function levelAt(module: BudgetModule, full: readonly number[], rank: number): Level {
  return {
    rank,
    parameters: parameterCount(
      module.shape,
      full.map((d) => Math.min(d, rank)),
    ),
    keptEnergy: estimateKeptEnergy(module, rank),
  };
}

/** The highest rank from `here` up that costs at most `spare` parameters more. */
function within(module: BudgetModule, here: Level, spare: number): Level {
  const full = fullBonds(module.shape);
  let best = here;
  for (let rank = here.rank + 1; rank <= Math.max(...full); rank++) {
    const level = levelAt(module, full, rank);
    if (level.parameters - here.parameters > spare) break;
    best = level;
  }
  return best;
}

/** The upper concave hull of (parameters, kept energy) over ranks 1 to the largest known. */
function hull(module: BudgetModule): Level[] {
  const full = fullBonds(module.shape);
  const most = Math.max(...full);
  // A bond with few known values caps the rank unless it is narrow enough to be kept whole.
  const known = Math.min(
    most,
    ...module.bonds.map((b) => (b.spectrum.length >= b.fullDimension ? most : b.spectrum.length)),
  );
  const points: Level[] = [];
  for (let rank = 1; rank <= Math.max(1, known); rank++) {
    const level = levelAt(module, full, rank);
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
