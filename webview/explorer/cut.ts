/**
 * What a choice of bond dimensions keeps and costs, from spectra alone, so that moving a cut needs no
 * new decomposition.
 *
 * For the unfolding at bond k let tail_k(d) be the energy beyond its d largest singular values.
 * Any tensor train with bonds d_k has squared error >= max_k tail_k(d_k), and the outside-in
 * decomposition has squared error <= sum_k tail_k(d_k) (Oseledets 2011, Theorem 2.2). With one
 * truncated bond both are equal and the error is exact. Where a spectrum holds lower bounds of the
 * singular values, energy minus the kept squares is an upper bound of the tail: it enters the sum
 * and not the maximum.
 *
 * On noise-like weights those bounds are far apart, so a likely value stands beside them: the kept
 * shares kappa_k of the single bonds give min kappa (one cut decides) and prod kappa (cuts are
 * independent), and the truth lies between; where between is read off the module's own last
 * decomposition, as an exponent w in kept = min^(1-w) prod^w. Halving or doubling the ranks of the
 * sample's modules, this was within about 10 % of the kept energy. It is marked as an estimate
 * wherever it is shown.
 */
import type { ModuleDecomposition } from '../../src/protocol/decomposition';
import type { DecomposeOptions, TrainingMemory } from '../../src/protocol/explorerPanel';

/** A decomposition with the sums that make a cut cheap. */
export interface Prepared {
  result: ModuleDecomposition;
  /** Pair products P_k = i_k j_k. */
  pairs: readonly number[];
  /** Per bond: energy of the d largest singular values at index d, from 0. */
  kept: readonly Float64Array[];
  /** Exponent w of the likely value, in [0, 1]. */
  weight: number;
}

export interface Estimate {
  ranks: readonly number[];
  parameters: number;
  /** Bounds of the relative Frobenius error; equal when it is known exactly. */
  errorLow: number;
  errorHigh: number;
  /** Exact, or the likely value between the bounds. */
  error: number;
  exact: boolean;
}

export function prepare(result: ModuleDecomposition): Prepared {
  const prepared: Prepared = {
    result,
    pairs: result.rowFactors.map((i, k) => i * (result.colFactors[k] ?? 1)),
    kept: result.bonds.map((bond) => {
      const sums = new Float64Array(bond.spectrum.length + 1);
      bond.spectrum.forEach((s, i) => {
        sums[i + 1] = (sums[i] as number) + s * s;
      });
      return sums;
    }),
    weight: 0,
  };
  const { least, product } = shares(
    prepared,
    result.bonds.map((b) => b.dimension),
  );
  const span = Math.log(product) - Math.log(least);
  // With one truncated bond both are the same and the exponent has no meaning.
  if (span < -1e-9 && result.keptEnergy > 0) {
    const weight = (Math.log(result.keptEnergy) - Math.log(least)) / span;
    prepared.weight = Math.min(1, Math.max(0, weight));
  }
  return prepared;
}

/** Smallest and product of the bonds' kept shares at these ranks. */
function shares(prepared: Prepared, ranks: readonly number[]): { least: number; product: number } {
  const { energy } = prepared.result;
  let least = 1;
  let product = 1;
  ranks.forEach((d, k) => {
    const share = energy > 0 ? 1 - tail(prepared, k, d) / energy : 1;
    least = Math.min(least, share);
    product *= share;
  });
  return { least, product };
}

/** The largest dimension that a bond's cut can be set to: as far as its spectrum is known. */
export function maxRank(result: ModuleDecomposition, bond: number): number {
  const b = result.bonds[bond];
  if (b === undefined) return 1;
  return Math.max(1, Math.min(b.fullDimension, Math.max(b.spectrum.length, b.dimension)));
}

/** Energy beyond the `d` largest values of a bond; an upper bound where the spectrum is not exact. */
export function tail(prepared: Prepared, bond: number, d: number): number {
  const { energy, bonds } = prepared.result;
  const b = bonds[bond];
  const sums = prepared.kept[bond];
  if (b === undefined || sums === undefined || d >= b.fullDimension) return 0;
  return Math.max(0, energy - (sums[Math.min(d, sums.length - 1)] ?? 0));
}

/** Number of entries of all cores: sum_k d_{k-1} P_k d_k. */
export function parameterCount(pairs: readonly number[], ranks: readonly number[]): number {
  return pairs.reduce((sum, p, k) => sum + (ranks[k - 1] ?? 1) * p * (ranks[k] ?? 1), 0);
}

export function estimate(prepared: Prepared, wished: readonly number[]): Estimate {
  const { result, pairs } = prepared;
  const ranks = wished.map((d, k) => Math.min(Math.max(1, d), maxRank(result, k)));
  const parameters = parameterCount(pairs, ranks);
  const known = (error: number): Estimate => ({
    ranks,
    parameters,
    errorLow: error,
    errorHigh: error,
    error,
    exact: true,
  });
  if (ranks.every((d, k) => d === result.bonds[k]?.dimension)) return known(result.relativeError);
  if (!(result.energy > 0)) return known(0);
  let low = 0;
  let high = 0;
  let truncated = 0;
  let bounded = false;
  ranks.forEach((d, k) => {
    const bond = result.bonds[k];
    if (bond === undefined || d >= bond.fullDimension) return;
    truncated += 1;
    const t = tail(prepared, k, d) / result.energy;
    high += t;
    if (bond.exactSpectrum) low = Math.max(low, t);
    else bounded = true;
  });
  const errorLow = Math.sqrt(Math.min(1, low));
  const errorHigh = Math.sqrt(Math.min(1, high));
  if (truncated === 0 || (truncated === 1 && !bounded)) return known(errorHigh);
  const { least, product } = shares(prepared, ranks);
  const kept = least ** (1 - prepared.weight) * product ** prepared.weight;
  const likely = Math.sqrt(Math.max(0, 1 - kept));
  const error = Math.min(errorHigh, Math.max(errorLow, likely));
  return { ranks, parameters, errorLow, errorHigh, error, exact: false };
}

/** Smallest dimension of a bond whose tail is within `allowed`; the largest known one if none is. */
function rankForTail(prepared: Prepared, bond: number, allowed: number): number {
  const last = maxRank(prepared.result, bond);
  let low = 1;
  let high = last;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (tail(prepared, bond, middle) <= allowed) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Bond dimensions by rule. A tolerance is shared equally among the bonds, which keeps the whole
 * error within it. `budget` is spread over modules by the trainer and has no preview: the ranks of
 * the last decomposition are returned.
 */
export function ranksFor(
  prepared: Prepared,
  rule: DecomposeOptions['rule'],
  value: number,
): number[] {
  const { bonds, energy } = prepared.result;
  const share = (allowed: number): number[] =>
    bonds.map((_, k) => rankForTail(prepared, k, (allowed * energy) / bonds.length));
  switch (rule) {
    case 'rank':
      return bonds.map((b, k) => Math.min(value, maxRank(prepared.result, k), b.fullDimension));
    case 'energy':
      return share(1 - value);
    case 'error':
      return share(value * value);
    case 'budget':
      return bonds.map((b) => b.dimension);
  }
}

/** Bytes of an fp32 adapter file, headers aside. */
export function adapterBytes(parameters: number): number {
  return parameters * 4;
}

/**
 * Peak memory of training these modules, by the host's formula; undefined without one, or where no
 * module lies in a layer.
 */
export function trainingBytes(
  training: TrainingMemory | undefined,
  modules: readonly {
    layer?: number | undefined;
    rows: number;
    cols: number;
    parameters: number;
  }[],
): number | undefined {
  const inLayers = modules.flatMap((m) =>
    m.layer === undefined ? [] : [{ ...m, layer: m.layer }],
  );
  const lowest = Math.min(...inLayers.map((m) => m.layer));
  const fixed = training?.fixedBytes[lowest];
  if (training === undefined || fixed === undefined) return undefined;
  const largest = Math.max(
    ...inLayers.filter((m) => m.layer === lowest).map((m) => m.rows * m.cols),
  );
  const parameters = inLayers.reduce((sum, m) => sum + m.parameters, 0);
  return fixed + training.bytesPerEntry * largest + training.bytesPerParameter * parameters;
}

/**
 * Energy kept beyond the better of the two references; undefined unless both were computed: the
 * Gaussian alone would call any uneven spectrum structure.
 */
export function structure(result: ModuleDecomposition): number | undefined {
  if (!hasBothReferences(result)) return undefined;
  return Math.min(...result.references.map((r) => result.keptEnergy - r.keptEnergy));
}

export function hasBothReferences({ references }: ModuleDecomposition): boolean {
  return new Set(references.map((r) => r.kind)).size === 2;
}
