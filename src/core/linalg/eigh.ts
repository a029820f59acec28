/**
 * Eigenvalues and eigenvectors of a symmetric matrix in fp64: Householder tridiagonalisation, then
 * implicit QL (Wilkinson shifts; Golub & Van Loan 8.3.3). The rotations of many QL sweeps are
 * gathered and applied four rows of Q at a time, which then stay in the first-level cache.
 */
import { accumulateReflections, tridiagonalise } from './tridiagonal';

export interface Eigen {
  /** In descending order. */
  values: Float64Array;
  /**
   * `[n, n]` row-major; column j belongs to `values[j]`. The entry of largest magnitude of each
   * column is positive, so that equal input gives equal bits and readable signs.
   */
  vectors: Float64Array;
}

/** Rotations gathered before they are applied: 1 MiB of coefficients, within second-level caches. */
const BATCH = 1 << 16;
const MAX_SWEEPS = 60;

/** Eigenvalues alone, descending; about a quarter of the work of {@link eigh}. */
export function eigenvalues(matrix: Float64Array, n: number): Float64Array {
  const { a, scale } = scaledCopy(matrix, n);
  const t = tridiagonalise(a, n, new Float64Array(n));
  implicitQl(t.diagonal, t.offDiagonal, n, undefined);
  return t.diagonal.map((x) => x * scale).sort((x, y) => y - x);
}

/**
 * Full eigendecomposition A = V diag(values) V^T.
 * @param matrix symmetric `[n, n]`; only the upper triangle is read
 * @throws Error when the iteration does not converge (non-finite input)
 */
export function eigh(matrix: Float64Array, n: number): Eigen {
  const { a, scale } = scaledCopy(matrix, n);
  const tau = new Float64Array(n);
  const t = tridiagonalise(a, n, tau);
  const q = accumulateReflections(a, n, tau);
  const rotations = new RotationBatch(q, n);
  implicitQl(t.diagonal, t.offDiagonal, n, rotations);
  rotations.flush();
  return sorted(t.diagonal, q, n, scale);
}

/** A copy with largest magnitude 1 (upper triangle), so that squares neither overflow nor underflow. */
export function scaledCopy(matrix: Float64Array, n: number): { a: Float64Array; scale: number } {
  let largest = 0;
  for (let i = 0; i < n; i++)
    for (let j = i; j < n; j++) largest = Math.max(largest, Math.abs(matrix[i * n + j] as number));
  if (!Number.isFinite(largest)) throw new Error('eigh: the matrix holds non-finite values.');
  const scale = largest === 0 ? 1 : largest;
  return { a: matrix.map((x) => x / scale), scale };
}

/** Plane rotations of columns (i, i + 1), i descending within a sweep, in the order of creation. */
export class RotationBatch {
  private readonly cos = new Float64Array(BATCH);
  private readonly sin = new Float64Array(BATCH);
  /** Three numbers a sweep: first column + 1, last column, number of the first rotation. */
  private sweeps: number[] = [];
  private count = 0;

  constructor(
    private readonly q: Float64Array,
    private readonly n: number,
  ) {}

  /** Opens a sweep whose first rotation acts on columns (top - 1, top). */
  begin(top: number): void {
    if (this.count + this.n > BATCH) this.flush();
    this.sweeps.push(top, top, this.count);
  }

  push(c: number, s: number): void {
    this.cos[this.count] = c;
    this.sin[this.count] = s;
    this.count++;
    const at = this.sweeps.length - 2;
    this.sweeps[at] = (this.sweeps[at] as number) - 1;
  }

  flush(): void {
    const { q, n, cos, sin } = this;
    const sweeps = Int32Array.from(this.sweeps);
    let row = 0;
    for (; row + 4 <= n; row += 4) applyFourRows(q, row * n, n, sweeps, cos, sin);
    for (; row < n; row++) applyOneRow(q, row * n, sweeps, cos, sin);
    this.sweeps = [];
    this.count = 0;
  }
}

/**
 * One pass a sweep: the entry that the next rotation needs is carried in a register, so each
 * rotation loads and stores one number a row. Four rows hide the chain's latency.
 */
function applyFourRows(
  q: Float64Array,
  base: number,
  n: number,
  sweeps: Int32Array,
  cos: Float64Array,
  sin: Float64Array,
): void {
  const b0 = base;
  const b1 = b0 + n;
  const b2 = b1 + n;
  const b3 = b2 + n;
  for (let w = 0; w < sweeps.length; w += 3) {
    const top = sweeps[w] as number;
    const bottom = sweeps[w + 1] as number;
    let at = sweeps[w + 2] as number;
    let h0 = q[b0 + top] as number;
    let h1 = q[b1 + top] as number;
    let h2 = q[b2 + top] as number;
    let h3 = q[b3 + top] as number;
    for (let i = top - 1; i >= bottom; i--, at++) {
      const c = cos[at] as number;
      const s = sin[at] as number;
      const x0 = q[b0 + i] as number;
      const x1 = q[b1 + i] as number;
      const x2 = q[b2 + i] as number;
      const x3 = q[b3 + i] as number;
      q[b0 + i + 1] = s * x0 + c * h0;
      q[b1 + i + 1] = s * x1 + c * h1;
      q[b2 + i + 1] = s * x2 + c * h2;
      q[b3 + i + 1] = s * x3 + c * h3;
      h0 = c * x0 - s * h0;
      h1 = c * x1 - s * h1;
      h2 = c * x2 - s * h2;
      h3 = c * x3 - s * h3;
    }
    q[b0 + bottom] = h0;
    q[b1 + bottom] = h1;
    q[b2 + bottom] = h2;
    q[b3 + bottom] = h3;
  }
}

function applyOneRow(
  q: Float64Array,
  base: number,
  sweeps: Int32Array,
  cos: Float64Array,
  sin: Float64Array,
): void {
  for (let w = 0; w < sweeps.length; w += 3) {
    const top = sweeps[w] as number;
    const bottom = sweeps[w + 1] as number;
    let at = sweeps[w + 2] as number;
    let h = q[base + top] as number;
    for (let i = top - 1; i >= bottom; i--, at++) {
      const c = cos[at] as number;
      const s = sin[at] as number;
      const x = q[base + i] as number;
      q[base + i + 1] = s * x + c * h;
      h = c * x - s * h;
    }
    q[base + bottom] = h;
  }
}

/** Implicit QL on (d, e), in place; `rotations` receives what turns T's basis into eigenvectors. */
export function implicitQl(
  d: Float64Array,
  e: Float64Array,
  n: number,
  rotations: RotationBatch | undefined,
): void {
  let norm = 0;
  for (let i = 0; i < n; i++)
    norm = Math.max(norm, Math.abs(d[i] as number) + Math.abs(e[i] as number));
  // Below the rounding error of the reduction: spares rank-deficient matrices idle sweeps.
  const absolute = (Number.EPSILON / 16) * norm;
  for (let l = 0; l < n; l++) {
    for (let sweep = 0; ; sweep++) {
      let m = l;
      for (; m < n - 1; m++) {
        const off = Math.abs(e[m] as number);
        const near = Math.abs(d[m] as number) + Math.abs(d[m + 1] as number);
        if (off <= absolute || off <= Number.EPSILON * near) break;
      }
      if (m === l) break;
      if (sweep === MAX_SWEEPS) throw new Error('eigh: no convergence.');
      rotations?.begin(m);
      const dl = d[l] as number;
      const el = e[l] as number;
      let g = ((d[l + 1] as number) - dl) / (2 * el);
      let r = Math.sqrt(g * g + 1);
      g = (d[m] as number) - dl + el / (g + (g >= 0 ? r : -r));
      let s = 1;
      let c = 1;
      let p = 0;
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * (e[i] as number);
        const b = c * (e[i] as number);
        r = Math.sqrt(f * f + g * g);
        e[i + 1] = r;
        if (r === 0) {
          d[i + 1] = (d[i + 1] as number) - p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = (d[i + 1] as number) - p;
        r = ((d[i] as number) - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        rotations?.push(c, s);
      }
      if (r === 0 && i >= l) continue;
      d[l] = (d[l] as number) - p;
      e[l] = g;
      e[m] = 0;
    }
  }
}

function sorted(d: Float64Array, q: Float64Array, n: number, scale: number): Eigen {
  const order = Array.from(d.keys()).sort((x, y) => (d[y] as number) - (d[x] as number) || x - y);
  const values = Float64Array.from(order, (k) => (d[k] as number) * scale);
  const sign = new Float64Array(n);
  const largest = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      const x = q[i * n + k] as number;
      // The margin keeps the choice stable where two entries are equal up to rounding.
      if (Math.abs(x) > (largest[k] as number) * (1 + 1e-6)) {
        largest[k] = Math.abs(x);
        sign[k] = x < 0 ? -1 : 1;
      }
    }
  }
  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const k = order[j] as number;
      vectors[i * n + j] = (q[i * n + k] as number) * (sign[k] as number);
    }
  }
  return { values, vectors };
}
