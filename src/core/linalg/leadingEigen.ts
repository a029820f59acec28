/**
 * Leading eigenvectors of a symmetric matrix, all eigenvalues: where a truncation keeps few
 * directions, inverse iteration on the tridiagonal form (Golub & Van Loan 8.4.2) replaces the QL
 * rotations of all vectors, three quarters of the work at side 512.
 */
import { eigh, valuesOf } from './eigh';
import type { Eigen } from './eigh';
import { gaussian } from './probes';
import { PANEL } from './simd/kernels';
import { Reduction } from './tridiagonal';
import type { Tridiagonal } from './tridiagonal';

/** Eigenvalues closer than this share of the norm are orthogonalised against each other. */
const CLUSTER = 1e-3;
const ITERATIONS = 3;
/** Below this side the whole decomposition takes a millisecond or less. */
const SMALL = 48;
/** Largest defect of orthogonality or residual (of norm 1) that is accepted; QL does the rest. */
const ACCEPTED = 1e-11;

/**
 * @param count how many vectors, given all eigenvalues (descending)
 * @param atMost an upper bound of that number, where one is known beforehand
 * @returns all eigenvalues, and `vectors` `[n, k]`, k = `count(values)`, signs as in {@link eigh}
 */
export function leadingEigen(
  matrix: Float64Array,
  n: number,
  count: (values: Float64Array) => number,
  atMost = n,
): Eigen & { k: number } {
  const whole = (): Eigen & { k: number } => {
    const full = eigh(matrix, n);
    return cut(full, n, count(full.values));
  };
  if (n < SMALL || (atMost < n && !pays(atMost, n))) return whole();
  const reduction = new Reduction(matrix, n, PANEL * n).run();
  const values = valuesOf(reduction);
  const k = count(values);
  const own = values.map((x) => x / reduction.scale);
  const rows = pays(k, n) ? inverseIteration(reduction, n, own, k) : undefined;
  if (rows === undefined) return whole();
  toBasisOfMatrix(reduction, rows, k);
  return { values, vectors: asColumns(rows, n, k), k };
}

/** Rows of `x` `[k, n]`, vectors in T's basis, turned into vectors in A's, in place. */
function toBasisOfMatrix(reduction: Reduction, x: Float64Array, k: number): void {
  const { n, free: panel } = reduction;
  const { memory: m } = reduction.kernels;
  for (let first = 0; first < k; first += PANEL) {
    const width = Math.min(PANEL, k - first);
    m.fill(0, panel, panel + n * PANEL);
    for (let j = 0; j < width; j++)
      for (let i = 0; i < n; i++) m[panel + i * PANEL + j] = x[(first + j) * n + i] as number;
    reduction.applyQ(panel);
    for (let j = 0; j < width; j++)
      for (let i = 0; i < n; i++) x[(first + j) * n + i] = m[panel + i * PANEL + j] as number;
  }
}

/** Inverse iteration costs n k^2 for clusters and 2 n^2 k for the way back. */
function pays(k: number, n: number): boolean {
  return 3 * k <= n;
}

function cut(full: Eigen, n: number, k: number): Eigen & { k: number } {
  const vectors = new Float64Array(n * k);
  for (let i = 0; i < n; i++) vectors.set(full.vectors.subarray(i * n, i * n + k), i * k);
  return { values: full.values, vectors, k };
}

/** Eigenvectors of T as rows `[k, n]`, or undefined when they do not pass the check. */
function inverseIteration(
  t: Tridiagonal,
  n: number,
  values: Float64Array,
  k: number,
): Float64Array | undefined {
  const norm = Math.max(Math.abs(values[0] as number), Math.abs(values[n - 1] as number));
  if (norm === 0) return undefined;
  const rows = Float64Array.from(gaussian(k * n, 1));
  const solver = new ShiftedSolver(t, n, norm);
  let clusterStart = 0;
  let shift = Infinity;
  for (let j = 0; j < k; j++) {
    const value = values[j] as number;
    if (j > 0 && (values[j - 1] as number) - value > CLUSTER * norm) clusterStart = j;
    // Equal shifts would give equal vectors; a step of rounding size parts them.
    shift = Math.min(value, shift - 4 * Number.EPSILON * norm);
    const x = rows.subarray(j * n, (j + 1) * n);
    solver.factor(shift);
    for (let iteration = 0; iteration < ITERATIONS; iteration++) {
      solver.solve(x);
      orthogonalise(rows, n, clusterStart, j);
      normalise(x);
    }
    if (!(residual(t, n, value, x) < ACCEPTED * norm)) return undefined;
  }
  return isOrthonormal(rows, n, k) ? rows : undefined;
}

/** LU with partial pivoting of T - shift (a band of two above the diagonal). */
class ShiftedSolver {
  private readonly u0;
  private readonly u1;
  private readonly u2;
  private readonly factorOf;
  private readonly swapped;

  constructor(
    private readonly t: Tridiagonal,
    private readonly n: number,
    private readonly norm: number,
  ) {
    this.u0 = new Float64Array(n);
    this.u1 = new Float64Array(n);
    this.u2 = new Float64Array(n);
    this.factorOf = new Float64Array(n);
    this.swapped = new Uint8Array(n);
  }

  factor(shift: number): void {
    const { n, u0, u1, u2, factorOf, swapped } = this;
    const { diagonal: d, offDiagonal: e } = this.t;
    // The current row from its diagonal on: p, q.
    let p = (d[0] as number) - shift;
    let q = n > 1 ? (e[0] as number) : 0;
    for (let i = 0; i < n - 1; i++) {
      const below = e[i] as number;
      const next = (d[i + 1] as number) - shift;
      const after = e[i + 1] as number;
      if (Math.abs(below) > Math.abs(p)) {
        swapped[i] = 1;
        const f = p / below;
        u0[i] = below;
        u1[i] = next;
        u2[i] = after;
        factorOf[i] = f;
        p = q - f * next;
        q = -f * after;
      } else {
        swapped[i] = 0;
        const f = p === 0 ? 0 : below / p;
        u0[i] = p;
        u1[i] = q;
        u2[i] = 0;
        factorOf[i] = f;
        p = next - f * q;
        q = after;
      }
    }
    u0[n - 1] = p;
    u1[n - 1] = 0;
    u2[n - 1] = 0;
    // A zero pivot stands for the singular direction that is looked for: make it tiny instead.
    const tiny = Number.EPSILON * this.norm;
    for (let i = 0; i < n; i++) if (Math.abs(u0[i] as number) < tiny) u0[i] = tiny;
  }

  solve(x: Float64Array): void {
    const { n, u0, u1, u2, factorOf, swapped } = this;
    for (let i = 0; i < n - 1; i++) {
      if (swapped[i] === 1) {
        const upper = x[i] as number;
        x[i] = x[i + 1] as number;
        x[i + 1] = upper - (factorOf[i] as number) * (x[i] as number);
      } else {
        x[i + 1] = (x[i + 1] as number) - (factorOf[i] as number) * (x[i] as number);
      }
    }
    let x1 = 0;
    let x2 = 0;
    for (let i = n - 1; i >= 0; i--) {
      const value =
        ((x[i] as number) - (u1[i] as number) * x1 - (u2[i] as number) * x2) / (u0[i] as number);
      x[i] = value;
      x2 = x1;
      x1 = value;
    }
    // The solution grows by 1 / eps an iteration; unit length keeps it in range.
    normalise(x);
  }
}

/** Row j minus its parts along rows [from, j), twice. */
function orthogonalise(rows: Float64Array, n: number, from: number, j: number): void {
  const x = j * n;
  for (let pass = 0; pass < 2; pass++) {
    for (let r = from; r < j; r++) {
      const y = r * n;
      let dot = 0;
      for (let i = 0; i < n; i++) dot += (rows[x + i] as number) * (rows[y + i] as number);
      for (let i = 0; i < n; i++)
        rows[x + i] = (rows[x + i] as number) - dot * (rows[y + i] as number);
    }
  }
}

function normalise(x: Float64Array): void {
  let largest = 0;
  for (const v of x) largest = Math.max(largest, Math.abs(v));
  if (largest === 0) return;
  let sum = 0;
  for (const v of x) sum += (v / largest) ** 2;
  const f = 1 / (largest * Math.sqrt(sum));
  for (let i = 0; i < x.length; i++) x[i] = (x[i] as number) * f;
}

/** ||T x - value x||_max; NaN where x is not finite. */
function residual(t: Tridiagonal, n: number, value: number, x: Float64Array): number {
  let worst = 0;
  for (let i = 0; i < n; i++) {
    let y = ((t.diagonal[i] as number) - value) * (x[i] as number);
    if (i > 0) y += (t.offDiagonal[i - 1] as number) * (x[i - 1] as number);
    if (i + 1 < n) y += (t.offDiagonal[i] as number) * (x[i + 1] as number);
    worst = Math.max(worst, Math.abs(y));
  }
  return worst;
}

function isOrthonormal(rows: Float64Array, n: number, k: number): boolean {
  for (let a = 0; a < k; a++)
    for (let b = a; b < k; b++) {
      let dot = 0;
      for (let i = 0; i < n; i++) dot += (rows[a * n + i] as number) * (rows[b * n + i] as number);
      if (!(Math.abs(dot - (a === b ? 1 : 0)) < ACCEPTED)) return false;
    }
  return true;
}

/** Rows `[k, n]` as columns `[n, k]` with the sign rule of eigh. */
function asColumns(rows: Float64Array, n: number, k: number): Float64Array {
  const vectors = new Float64Array(n * k);
  for (let j = 0; j < k; j++) {
    let largest = 0;
    let sign = 1;
    for (let i = 0; i < n; i++) {
      const x = rows[j * n + i] as number;
      if (Math.abs(x) > largest * (1 + 1e-6)) {
        largest = Math.abs(x);
        sign = x < 0 ? -1 : 1;
      }
    }
    for (let i = 0; i < n; i++) vectors[i * k + j] = sign * (rows[j * n + i] as number);
  }
  return vectors;
}
