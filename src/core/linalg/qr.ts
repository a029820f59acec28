/** Thin Householder QR in fp64, on contiguous rows (Golub & Van Loan 5.2). */

/**
 * A = Q R for a row-major A `[m, n]`; k = min(m, n).
 * @returns Q `[m, k]` with orthonormal columns (also where A is rank-deficient), R `[k, n]` upper
 *   trapezoidal with a non-negative diagonal, which makes Q unique and Haar-distributed for a
 *   Gaussian square A (Mezzadri 2007)
 */
export function qr(
  matrix: Float64Array,
  m: number,
  n: number,
): { q: Float64Array; r: Float64Array; k: number } {
  const a = Float64Array.from(matrix);
  const k = Math.min(m, n);
  const tau = new Float64Array(k);
  const u = new Float64Array(Math.max(n, k));
  for (let c = 0; c < k; c++) reflectColumn(a, m, n, c, tau, u);

  const r = new Float64Array(k * n);
  for (let i = 0; i < k; i++) r.set(a.subarray(i * n + i, (i + 1) * n), i * n + i);

  const q = new Float64Array(m * k);
  for (let i = 0; i < k; i++) q[i * k + i] = 1;
  for (let c = k - 1; c >= 0; c--) {
    const t = tau[c] as number;
    if (t === 0) continue;
    const v = (i: number): number => (i === c ? 1 : (a[i * n + c] as number));
    applyReflection(q, k, c, m, c, v, t, u);
  }
  for (let i = 0; i < k; i++) {
    if ((r[i * n + i] as number) >= 0) continue;
    for (let j = i; j < n; j++) r[i * n + j] = -(r[i * n + j] as number);
    for (let row = 0; row < m; row++) q[row * k + i] = -(q[row * k + i] as number);
  }
  return { q, r, k };
}

/** Annihilates column c below the diagonal; the vector stays there, its leading 1 is implied. */
function reflectColumn(
  a: Float64Array,
  m: number,
  n: number,
  c: number,
  tau: Float64Array,
  u: Float64Array,
): void {
  let largest = 0;
  for (let i = c; i < m; i++) largest = Math.max(largest, Math.abs(a[i * n + c] as number));
  if (largest === 0) return;
  let sum = 0;
  for (let i = c; i < m; i++) sum += ((a[i * n + c] as number) / largest) ** 2;
  const norm = largest * Math.sqrt(sum);
  const alpha = a[c * n + c] as number;
  const beta = alpha > 0 ? -norm : norm;
  tau[c] = (beta - alpha) / beta;
  const scale = 1 / (alpha - beta);
  for (let i = c + 1; i < m; i++) a[i * n + c] = (a[i * n + c] as number) * scale;
  a[c * n + c] = beta;
  const v = (i: number): number => (i === c ? 1 : (a[i * n + c] as number));
  applyReflection(a, n, c, m, c + 1, v, tau[c] as number, u);
}

/** Rows [from, to), columns from `column` on: X <- X - tau v (v^T X). */
function applyReflection(
  x: Float64Array,
  width: number,
  from: number,
  to: number,
  column: number,
  v: (i: number) => number,
  tau: number,
  u: Float64Array,
): void {
  for (let j = column; j < width; j++) u[j] = 0;
  for (let i = from; i < to; i++) {
    const f = v(i);
    const base = i * width;
    for (let j = column; j < width; j++) u[j] = (u[j] as number) + f * (x[base + j] as number);
  }
  for (let i = from; i < to; i++) {
    const f = tau * v(i);
    const base = i * width;
    for (let j = column; j < width; j++)
      x[base + j] = (x[base + j] as number) - f * (u[j] as number);
  }
}
