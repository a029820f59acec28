/** Cholesky factorisation and triangular inverse, fp64, row-major. */

/**
 * Upper-triangular R with G = R^T R for a symmetric positive definite G `[n, n]`.
 * @returns undefined when a pivot falls to `relativeFloor` times the largest diagonal entry or
 *   below (G is numerically rank-deficient)
 */
export function cholesky(
  g: Float64Array,
  n: number,
  relativeFloor: number,
): Float64Array | undefined {
  const r = new Float64Array(n * n);
  let largest = 0;
  for (let i = 0; i < n; i++) largest = Math.max(largest, g[i * n + i] as number);
  // Right-looking on rows, so that the inner loop is contiguous.
  const work = Float64Array.from(g);
  for (let k = 0; k < n; k++) {
    const pivot = work[k * n + k] as number;
    if (!(pivot > relativeFloor * largest)) return undefined;
    const scale = 1 / Math.sqrt(pivot);
    for (let j = k; j < n; j++) r[k * n + j] = (work[k * n + j] as number) * scale;
    for (let i = k + 1; i < n; i++) {
      const x = r[k * n + i] as number;
      if (x === 0) continue;
      for (let j = i; j < n; j++)
        work[i * n + j] = (work[i * n + j] as number) - x * (r[k * n + j] as number);
    }
  }
  return r;
}

/** R^-1 of an upper-triangular R `[n, n]` with non-zero diagonal; upper-triangular itself. */
export function invertUpper(r: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  // Row i of X = R^-1 solves x_i R = e_i from left to right; the update loop runs along R's rows.
  for (let i = 0; i < n; i++) {
    const row = inverse.subarray(i * n, i * n + n);
    row[i] = 1;
    for (let k = i; k < n; k++) {
      const x = (row[k] as number) / (r[k * n + k] as number);
      row[k] = x;
      for (let j = k + 1; j < n; j++) row[j] = (row[j] as number) - x * (r[k * n + j] as number);
    }
  }
  return inverse;
}
