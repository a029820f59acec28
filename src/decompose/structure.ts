/**
 * How much of a kept energy is structure: what an MPO keeps of the weight beyond both references at
 * the same shape and ranks. The Gaussian alone overstates it, because any uneven spectrum beats it;
 * a high score is no promise of better tuning.
 */
import type { ModuleDecomposition } from '../protocol/decomposition';

/** Kept energy beyond the higher of the references; negative where a reference keeps more. */
export function structureScore(result: ModuleDecomposition): number {
  return result.references.reduce(
    (least, r) => Math.min(least, result.keptEnergy - r.keptEnergy),
    result.references.length === 0 ? 0 : Infinity,
  );
}

export interface RankedModule {
  module: string;
  score: number;
  keptEnergy: number;
  /** Parameters of the cores over those of the matrix. */
  compression: number;
}

/** Modules by structure, most first; equal scores in the order given. */
export function rankByStructure(results: readonly ModuleDecomposition[]): RankedModule[] {
  return results
    .map((r) => ({
      module: r.module,
      score: structureScore(r),
      keptEnergy: r.keptEnergy,
      compression: r.parameters / (r.rows * r.cols),
    }))
    .sort((a, b) => b.score - a.score);
}
