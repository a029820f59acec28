/**
 * Eigenvalues and eigenvectors of a symmetric matrix in fp64: Householder tridiagonalisation, then
 * implicit QL (Wilkinson shifts; Golub & Van Loan 8.3.3). The rotations of many QL sweeps are
 * gathered and applied eight rows of Q at a time, which then stay in the first-level cache.
 */
import { PANEL } from './simd/kernels';
import type { EigenKernels } from './simd/kernels';
import { Reduction } from './tridiagonal';

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
  return valuesOf(new Reduction(matrix, n).run());
}

/** Descending eigenvalues of the matrix that was reduced; the tridiagonal form stays as it is. */
export function valuesOf(reduction: Reduction): Float64Array {
  const d = Float64Array.from(reduction.diagonal);
  implicitQl(d, Float64Array.from(reduction.offDiagonal), reduction.n, undefined);
  return d.map((x) => x * reduction.scale).sort((x, y) => y - x);
}

/**
 * Full eigendecomposition A = V diag(values) V^T.
 * @param matrix symmetric `[n, n]`; only the upper triangle is read
 * @param make where the inner loops come from; all choices give the same bits
 * @throws Error when the iteration does not converge (non-finite input)
 */
export function eigh(
  matrix: Float64Array,
  n: number,
  make?: (doubles: number) => EigenKernels,
): Eigen {
  const panels = Math.ceil(n / PANEL);
  const size = panels * PANEL * n;
  const reduction = new Reduction(matrix, n, size + PANEL * n + 2 * BATCH, make).run();
  const { kernels, free } = reduction;
  accumulate(reduction, free, free + size);
  const rotations = new RotationBatch(kernels, free, free + size + PANEL * n, n);
  implicitQl(reduction.diagonal, reduction.offDiagonal, n, rotations);
  rotations.flush();
  return sorted(reduction.diagonal, kernels.memory.subarray(free, free + size), n, reduction.scale);
}

/**
 * Writes Q as panels of eight rows, `[n, 8]` each (column j of the rows side by side): the form in
 * which rotations of columns run over contiguous memory.
 * @param scratch room for one panel
 */
function accumulate(reduction: Reduction, q: number, scratch: number): void {
  const { n } = reduction;
  const { memory: m } = reduction.kernels;
  for (let first = 0; first < n; first += PANEL) {
    const width = Math.min(PANEL, n - first);
    m.fill(0, scratch, scratch + n * PANEL);
    for (let j = 0; j < width; j++) m[scratch + (first + j) * PANEL + j] = 1;
    // Reflection k acts on rows from k + 1 on, where these columns of the identity are zero.
    reduction.applyQ(scratch, Math.min(n - 2, first + width - 2));
    for (let i = 0; i < n; i++) {
      const row = q + Math.floor(i / PANEL) * PANEL * n + (i % PANEL);
      for (let j = 0; j < width; j++)
        m[row + (first + j) * PANEL] = m[scratch + i * PANEL + j] as number;
    }
  }
}

/** Plane rotations of columns (i, i + 1) of Q, i descending within a sweep, in order of creation. */
export class RotationBatch {
  /** Three numbers a sweep: first column, last column, number of the first rotation. */
  private sweeps: number[] = [];
  private count = 0;
  private readonly cos: number;
  private readonly sin: number;

  /**
   * @param q panels of eight rows of Q in the kernels' memory
   * @param coefficients room for twice {@link BATCH} numbers
   */
  constructor(
    private readonly kernels: EigenKernels,
    private readonly q: number,
    coefficients: number,
    private readonly n: number,
  ) {
    this.cos = coefficients;
    this.sin = coefficients + BATCH;
  }

  /** Opens a sweep whose first rotation acts on columns (top - 1, top). */
  begin(top: number): void {
    if (this.count + this.n > BATCH) this.flush();
    this.sweeps.push(top, top, this.count);
  }

  push(c: number, s: number): void {
    const { memory } = this.kernels;
    memory[this.cos + this.count] = c;
    memory[this.sin + this.count] = s;
    this.count++;
    const at = this.sweeps.length - 2;
    this.sweeps[at] = (this.sweeps[at] as number) - 1;
  }

  /** Panel after panel: one stays in the first-level cache while all rotations pass. */
  flush(): void {
    const { kernels, n, sweeps, cos, sin } = this;
    const end = this.q + Math.ceil(n / PANEL) * PANEL * n;
    for (let panel = this.q; panel < end; panel += PANEL * n)
      for (let w = 0; w < sweeps.length; w += 3) {
        const top = sweeps[w] as number;
        const at = sweeps[w + 2] as number;
        const count = top - (sweeps[w + 1] as number);
        kernels.rotatePanel(cos + at, sin + at, count, panel + top * PANEL);
      }
    this.sweeps = [];
    this.count = 0;
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

/** @param q panels of eight rows, as {@link accumulate} writes them */
function sorted(d: Float64Array, q: Float64Array, n: number, scale: number): Eigen {
  const order = Array.from(d.keys()).sort((x, y) => (d[y] as number) - (d[x] as number) || x - y);
  const values = Float64Array.from(order, (k) => (d[k] as number) * scale);
  const at = (i: number, k: number): number =>
    Math.floor(i / PANEL) * PANEL * n + k * PANEL + (i % PANEL);
  const vectors = new Float64Array(n * n);
  order.forEach((k, j) => {
    let sign = 1;
    let largest = 0;
    for (let i = 0; i < n; i++) {
      const x = q[at(i, k)] as number;
      // The margin keeps the choice stable where two entries are equal up to rounding.
      if (Math.abs(x) > largest * (1 + 1e-6)) {
        largest = Math.abs(x);
        sign = x < 0 ? -1 : 1;
      }
    }
    for (let i = 0; i < n; i++) vectors[i * n + j] = (q[at(i, k)] as number) * sign;
  });
  return { values, vectors };
}
