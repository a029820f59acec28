/** Means over seeds and what they are worth. */

export interface Summary {
  n: number;
  mean: number;
  /** Sample standard deviation (n - 1); NaN for one value. */
  sd: number;
  /** Half the width of the 95 % interval of the mean by Student's t; NaN for one value. */
  margin: number;
}

/** Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom. */
const t95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145,
  2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048,
  2.045, 2.042,
];

/** Above 30 degrees of freedom the first term of the Cornish-Fisher expansion is exact to 1e-3. */
export function studentT95(degrees: number): number {
  const z = 1.959964;
  return t95[degrees - 1] ?? z + (z ** 3 + z) / (4 * degrees);
}

export function summarize(values: readonly number[]): Summary {
  const n = values.length;
  const mean = values.reduce((sum, v) => sum + v, 0) / n;
  if (n < 2) return { n, mean, sd: NaN, margin: NaN };
  const sd = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1));
  return { n, mean, sd, margin: (studentT95(n - 1) * sd) / Math.sqrt(n) };
}

export interface PairedDifference extends Summary {
  /** Mean over its standard error. */
  standardErrors: number;
}

/**
 * `a - b` over the seeds that both have: runs of one seed see the same batches, so that pairing takes
 * their common luck out.
 */
export function pairedDifference(
  a: ReadonlyMap<number, number>,
  b: ReadonlyMap<number, number>,
): PairedDifference {
  const differences = [...a].flatMap(([seed, value]) => {
    const other = b.get(seed);
    return other === undefined ? [] : [value - other];
  });
  const summary = summarize(differences);
  return { ...summary, standardErrors: summary.mean / (summary.sd / Math.sqrt(summary.n)) };
}
