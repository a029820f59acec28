/**
 * Reduction of a symmetric matrix to tridiagonal form by Householder reflections (Golub & Van Loan,
 * Matrix Computations, 8.3.1), on the rows of the upper triangle so that every inner loop runs over
 * contiguous memory. The inner loops themselves are in `simd/kernels.ts`.
 */
import { PANEL, eigenKernels } from './simd/kernels';
import type { EigenKernels } from './simd/kernels';

export interface Tridiagonal {
  /** Diagonal, length n. */
  diagonal: Float64Array;
  /** Off-diagonal, length n; the last entry is 0. */
  offDiagonal: Float64Array;
}

/**
 * A = scale Q T Q^T with Q = H_0 H_1 .. H_{n-2}, H_k = I - tau_k v_k v_k^T. Row k of the matrix in
 * memory holds v_k from column k + 1 on once step k is done.
 */
export class Reduction implements Tridiagonal {
  readonly diagonal: Float64Array;
  readonly offDiagonal: Float64Array;
  /** Largest magnitude of A; T belongs to A / scale, so that squares neither overflow nor underflow. */
  readonly scale: number;
  readonly kernels: EigenKernels;
  /** First double of memory behind the reduction's own: `extra` of them are free. */
  readonly free: number;
  private readonly stride: number;
  private readonly product: number;
  private readonly tau: Float64Array;

  /**
   * @param matrix symmetric `[n, n]`; only the upper triangle is read
   * @param extra doubles of memory that the caller needs beside
   * @param make where the inner loops come from
   * @throws Error for non-finite entries
   */
  constructor(
    matrix: Float64Array,
    readonly n: number,
    extra = 0,
    make: (doubles: number) => EigenKernels = eigenKernels,
  ) {
    this.scale = largestMagnitude(matrix, n);
    // One column and one row of zeros at least: see the kernels. An even stride keeps rows aligned.
    this.stride = n + 2 - (n % 2);
    this.product = (n + 1) * this.stride;
    this.free = this.product + this.stride;
    this.kernels = make(this.free + extra);
    const { memory } = this.kernels;
    memory.fill(0, 0, this.free);
    for (let i = 0; i < n; i++)
      for (let j = i; j < n; j++)
        memory[i * this.stride + j] = (matrix[i * n + j] as number) / this.scale;
    this.tau = new Float64Array(n);
    this.diagonal = new Float64Array(n);
    this.offDiagonal = new Float64Array(n);
  }

  /** All n steps. */
  run(): this {
    for (let k = 0; k < this.n; k++) this.step(k);
    return this;
  }

  /** Step k of n, in order; the cost falls with the square of n - k. */
  step(k: number): void {
    const { n, kernels, stride, product: p } = this;
    const { memory: m } = kernels;
    this.diagonal[k] = m[k * stride + k] as number;
    const count = n - k - 1;
    if (count === 0) return;
    const v = k * stride + k + 1;
    this.offDiagonal[k] = reflect(m, v, count, this.tau, k);
    const t = this.tau[k] as number;
    if (t === 0) return;
    const block = (k + 1) * (stride + 1);
    m.fill(0, p, p + count + 1);
    kernels.symmetricTimesVector(block, stride, v, p, count);
    let pv = 0;
    for (let i = 0; i < count; i++) pv += (m[p + i] as number) * (m[v + i] as number);
    // w = tau A v - (tau^2 v^T A v / 2) v; then A <- A - v w^T - w v^T.
    const half = 0.5 * t * t * pv;
    for (let i = 0; i < count; i++)
      m[p + i] = t * (m[p + i] as number) - half * (m[v + i] as number);
    kernels.rankTwoUpdate(block, stride, v, p, count);
  }

  /**
   * X <- Q X for a panel X `[n, 8]` in memory, row-major.
   * @param last reflections after this one leave the panel unchanged and are skipped
   */
  applyQ(panel: number, last = this.n - 2): void {
    for (let k = last; k >= 0; k--) {
      const t = this.tau[k] as number;
      if (t === 0) continue;
      const v = k * this.stride + k + 1;
      this.kernels.reflectPanel(v, panel + (k + 1) * PANEL, this.n - k - 1, t);
    }
  }
}

/** Largest magnitude in the upper triangle; 1 for a zero matrix. */
function largestMagnitude(matrix: Float64Array, n: number): number {
  let largest = 0;
  for (let i = 0; i < n; i++)
    for (let j = i; j < n; j++) largest = Math.max(largest, Math.abs(matrix[i * n + j] as number));
  if (!Number.isFinite(largest)) throw new Error('eigh: the matrix holds non-finite values.');
  return largest === 0 ? 1 : largest;
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
