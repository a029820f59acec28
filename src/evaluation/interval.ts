/** Confidence intervals for accuracies. */

/** 97.5 % quantile of the standard normal distribution. */
const z = 1.959963984540054;

export interface Interval {
  low: number;
  high: number;
}

/**
 * Wilson's score interval at 95 % for `correct` of `total` (Wilson 1927). Unlike the normal one it
 * stays within [0, 1] and is sensible at 0 and at `total`.
 */
export function wilsonInterval(correct: number, total: number): Interval {
  if (total === 0) return { low: 0, high: 1 };
  const share = correct / total;
  const square = (z * z) / total;
  const centre = share + square / 2;
  const spread = z * Math.sqrt((share * (1 - share)) / total + square / (4 * total));
  return {
    low: Math.max(0, (centre - spread) / (1 + square)),
    high: Math.min(1, (centre + spread) / (1 + square)),
  };
}

export interface SetResult {
  correct: number;
  total: number;
}

/**
 * Unweighted mean over sets, as the tables of LLM-Adapters report it, with the interval of a mean of
 * independent proportions (normal approximation).
 */
export function macroAverage(sets: readonly SetResult[]): { accuracy: number } & Interval {
  const shares = sets.map(({ correct, total }) => (total === 0 ? 0 : correct / total));
  const accuracy = shares.reduce((sum, share) => sum + share, 0) / sets.length;
  const variance = sets.reduce(
    (sum, { total }, i) => sum + ((shares[i] ?? 0) * (1 - (shares[i] ?? 0))) / Math.max(1, total),
    0,
  );
  const spread = (z * Math.sqrt(variance)) / sets.length;
  return { accuracy, low: Math.max(0, accuracy - spread), high: Math.min(1, accuracy + spread) };
}
