/**
 * Reduction of a symmetric matrix to tridiagonal form by Householder reflections (Golub & Van Loan,
 * Matrix Computations, 8.3.1), on the rows of the upper triangle so that every inner loop runs over
 * contiguous memory.
 */

export interface Tridiagonal {
  /** Diagonal, length n. */
  diagonal: Float64Array;
  /** Off-diagonal, length n; the last entry is 0. */
  offDiagonal: Float64Array;
}

/**
 * Overwrites the upper triangle of `a` `[n, n]` with the Householder vectors (row k holds v_k from
 * column k + 1 on, v_k[k + 1] = 1) and returns T with A = Q T Q^T, Q = H_0 H_1 .. H_{n-3}.
 * @param tau receives the reflections' factors, H_k = I - tau_k v_k v_k^T; length n
 */
export function tridiagonalise(a: Float64Array, n: number, tau: Float64Array): Tridiagonal {
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(n);
  const p = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    diagonal[k] = a[k * n + k] as number;
    if (k + 1 >= n) break;
    const beta = reflect(a, k * n + k + 1, n - k - 1, tau, k);
    offDiagonal[k] = beta;
    const t = tau[k] as number;
    if (t === 0) continue;
    const v = a.subarray(k * n, k * n + n);
    symmetricTimesVector(a, n, k + 1, v, p);
    let pv = 0;
    for (let i = k + 1; i < n; i++) pv += (p[i] as number) * (v[i] as number);
    // w = tau A v - (tau^2 v^T A v / 2) v; then A <- A - v w^T - w v^T.
    const half = 0.5 * t * t * pv;
    for (let i = k + 1; i < n; i++) p[i] = t * (p[i] as number) - half * (v[i] as number);
    rankTwoUpdate(a, n, k + 1, v, p);
  }
  return { diagonal, offDiagonal };
}

/**
 * Householder vector of `a[start, start + length)`, in place with v_0 = 1.
 * @returns the entry that the reflection leaves at the front
 */
function reflect(
  a: Float64Array,
  start: number,
  length: number,
  tau: Float64Array,
  k: number,
): number {
  const alpha = a[start] as number;
  let tail = 0;
  for (let i = start + 1; i < start + length; i++) tail += (a[i] as number) ** 2;
  if (tail === 0) {
    tau[k] = 0;
    return alpha;
  }
  const norm = Math.sqrt(alpha * alpha + tail);
  const beta = alpha > 0 ? -norm : norm;
  tau[k] = (beta - alpha) / beta;
  const scale = 1 / (alpha - beta);
  for (let i = start + 1; i < start + length; i++) a[i] = (a[i] as number) * scale;
  a[start] = 1;
  return beta;
}

/** p = A v over the trailing block from `from` on, from the upper triangle alone, two rows a pass. */
function symmetricTimesVector(
  a: Float64Array,
  n: number,
  from: number,
  v: Float64Array,
  p: Float64Array,
): void {
  for (let i = from; i < n; i++) p[i] = 0;
  let i = from;
  for (; i + 1 < n; i += 2) {
    const r0 = i * n;
    const r1 = r0 + n;
    const x0 = v[i] as number;
    const x1 = v[i + 1] as number;
    const cross = a[r0 + i + 1] as number;
    let s0 = (a[r0 + i] as number) * x0 + cross * x1;
    let s1 = (a[r1 + i + 1] as number) * x1 + cross * x0;
    for (let j = i + 2; j < n; j++) {
      const a0 = a[r0 + j] as number;
      const a1 = a[r1 + j] as number;
      const x = v[j] as number;
      s0 += a0 * x;
      s1 += a1 * x;
      p[j] = (p[j] as number) + a0 * x0 + a1 * x1;
    }
    p[i] = (p[i] as number) + s0;
    p[i + 1] = (p[i + 1] as number) + s1;
  }
  if (i < n) p[i] = (p[i] as number) + (a[i * n + i] as number) * (v[i] as number);
}

/** Upper triangle of the trailing block: A <- A - v w^T - w v^T, two rows a pass. */
function rankTwoUpdate(
  a: Float64Array,
  n: number,
  from: number,
  v: Float64Array,
  w: Float64Array,
): void {
  let i = from;
  for (; i + 1 < n; i += 2) {
    const v0 = v[i] as number;
    const v1 = v[i + 1] as number;
    const w0 = w[i] as number;
    const w1 = w[i + 1] as number;
    const r0 = i * n;
    const r1 = r0 + n;
    a[r0 + i] = (a[r0 + i] as number) - 2 * v0 * w0;
    for (let j = i + 1; j < n; j++) {
      const vj = v[j] as number;
      const wj = w[j] as number;
      a[r0 + j] = (a[r0 + j] as number) - v0 * wj - w0 * vj;
      a[r1 + j] = (a[r1 + j] as number) - v1 * wj - w1 * vj;
    }
  }
  if (i < n) a[i * n + i] = (a[i * n + i] as number) - 2 * (v[i] as number) * (w[i] as number);
}

/** Q `[n, n]` of {@link tridiagonalise}, row-major, from the vectors and factors it left. */
export function accumulateReflections(a: Float64Array, n: number, tau: Float64Array): Float64Array {
  const q = new Float64Array(n * n);
  for (let i = 0; i < n; i++) q[i * n + i] = 1;
  const u = new Float64Array(n);
  for (let k = n - 3; k >= 0; k--) {
    const t = tau[k] as number;
    if (t === 0) continue;
    // Only rows and columns from k + 1 on differ from the identity so far.
    const from = k + 1;
    const v = a.subarray(k * n, k * n + n);
    for (let j = from; j < n; j++) u[j] = q[from * n + j] as number;
    let i = from + 1;
    for (; i + 1 < n; i += 2) {
      const x0 = v[i] as number;
      const x1 = v[i + 1] as number;
      const r0 = i * n;
      const r1 = r0 + n;
      for (let j = from; j < n; j++)
        u[j] = (u[j] as number) + x0 * (q[r0 + j] as number) + x1 * (q[r1 + j] as number);
    }
    if (i < n) {
      const x = v[i] as number;
      for (let j = from; j < n; j++) u[j] = (u[j] as number) + x * (q[i * n + j] as number);
    }
    for (i = from; i < n; i++) {
      const x = t * (v[i] as number);
      const r = i * n;
      for (let j = from; j < n; j++) q[r + j] = (q[r + j] as number) - x * (u[j] as number);
    }
  }
  return q;
}

/** Rows of `x` `[k, n]`, vectors in T's basis, turned into vectors in A's: x <- (Q x^T)^T, in place. */
export function applyReflections(
  a: Float64Array,
  n: number,
  tau: Float64Array,
  x: Float64Array,
  k: number,
): void {
  // One vector after the other: it stays in the first-level cache while all reflections pass.
  for (let j = 0; j < k; j++) {
    const base = j * n;
    for (let h = n - 2; h >= 0; h--) {
      const t = tau[h] as number;
      if (t === 0) continue;
      const v = h * n;
      let d0 = 0;
      let d1 = 0;
      let i = h + 1;
      for (; i + 1 < n; i += 2) {
        d0 += (a[v + i] as number) * (x[base + i] as number);
        d1 += (a[v + i + 1] as number) * (x[base + i + 1] as number);
      }
      if (i < n) d0 += (a[v + i] as number) * (x[base + i] as number);
      const f = t * (d0 + d1);
      for (i = h + 1; i < n; i++) x[base + i] = (x[base + i] as number) - f * (a[v + i] as number);
    }
  }
}
