/**
 * The eigen-solver's inner loops over arrays in one memory: WebAssembly SIMD where the platform has
 * it, else TypeScript. Both round in the same order, so the results are equal bit by bit.
 *
 * Rows of the matrix are padded with zeros to an odd column more than they need, and a zero row
 * follows the last one: loops over pairs of rows and of columns need no special ends.
 */
import { eigenModule } from './module';

/** Columns of a panel: what one pass keeps in registers. */
export const PANEL = 8;

/** Positions and strides count doubles of `memory`. */
export interface EigenKernels {
  readonly kind: 'simd' | 'plain';
  readonly memory: Float64Array;
  /** p += A v, p zero before; A `[count, count]` symmetric with its first entry at `diagonal`. */
  symmetricTimesVector(diagonal: number, stride: number, v: number, p: number, count: number): void;
  /** A <- A - v w^T - w v^T; the upper triangle counts, entries next to it are overwritten. */
  rankTwoUpdate(diagonal: number, stride: number, v: number, w: number, count: number): void;
  /** X <- (I - tau v v^T) X for a panel X `[count, 8]`. */
  reflectPanel(v: number, panel: number, count: number, tau: number): void;
  /**
   * Rotations of a panel's rows (i, i + 1), i falling from the row before `top` on:
   * (x_i, x_{i+1}) <- (c x_i - s x_{i+1}, s x_i + c x_{i+1}).
   */
  rotatePanel(cos: number, sin: number, count: number, top: number): void;
}

/** Memory up to this size is kept from call to call (a matrix of side 1024 with its vectors). */
const KEPT_DOUBLES = 5 << 19;
const PAGE_DOUBLES = 8192;
const DOUBLE = 8;

let compiled: WebAssembly.Module | null | undefined;
let kept: EigenKernels | undefined;

/** Kernels over a memory of at least `doubles`, whatever stands in it. */
export function eigenKernels(doubles: number): EigenKernels {
  if (kept !== undefined && kept.memory.length >= doubles) return kept;
  const kernels = simdKernels(doubles) ?? plainKernels(doubles);
  if (doubles <= KEPT_DOUBLES) kept = kernels;
  return kernels;
}

/** @returns undefined where WebAssembly or its SIMD is missing, or the memory is not to be had */
export function simdKernels(doubles: number): EigenKernels | undefined {
  const module = compile();
  if (module === undefined) return undefined;
  let memory: WebAssembly.Memory;
  try {
    memory = new WebAssembly.Memory({ initial: Math.ceil(doubles / PAGE_DOUBLES) });
  } catch {
    return undefined;
  }
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const wasm = exports as unknown as Record<
    'symmetricTimesVector' | 'rankTwoUpdate' | 'reflectPanel' | 'rotatePanel',
    (...args: number[]) => void
  >;
  const b = DOUBLE;
  return {
    kind: 'simd',
    memory: new Float64Array(memory.buffer),
    symmetricTimesVector: (diagonal, stride, v, p, count) => {
      wasm.symmetricTimesVector(diagonal * b, stride * b, v * b, p * b, (v + count) * b);
    },
    rankTwoUpdate: (diagonal, stride, v, w, count) => {
      wasm.rankTwoUpdate(diagonal * b, stride * b, v * b, w * b, (v + count) * b);
    },
    reflectPanel: (v, panel, count, tau) => {
      wasm.reflectPanel(v * b, panel * b, (v + count) * b, tau);
    },
    rotatePanel: (cos, sin, count, top) => {
      wasm.rotatePanel(cos * b, sin * b, (cos + count) * b, top * b);
    },
  };
}

function compile(): WebAssembly.Module | undefined {
  if (compiled === undefined) {
    try {
      compiled = new WebAssembly.Module(eigenModule() as BufferSource);
    } catch {
      compiled = null;
    }
  }
  return compiled ?? undefined;
}

/** The reference: the same sums in the same order. */
export function plainKernels(doubles: number): EigenKernels {
  const m = new Float64Array(doubles);
  return {
    kind: 'plain',
    memory: m,
    symmetricTimesVector: (diagonal, stride, v, p, count) => {
      for (let i = 0; i < count; i += 2) {
        const r0 = diagonal + i * (stride + 1);
        const r1 = r0 + stride;
        const x0 = m[v + i] as number;
        const x1 = m[v + i + 1] as number;
        // Two partial sums a row: the lanes of a vector.
        let s00 = 0;
        let s01 = 0;
        let s10 = 0;
        let s11 = 0;
        for (let j = 2; i + j < count; j += 2) {
          const a00 = m[r0 + j] as number;
          const a01 = m[r0 + j + 1] as number;
          const a10 = m[r1 + j] as number;
          const a11 = m[r1 + j + 1] as number;
          const y0 = m[v + i + j] as number;
          const y1 = m[v + i + j + 1] as number;
          s00 += a00 * y0;
          s01 += a01 * y1;
          s10 += a10 * y0;
          s11 += a11 * y1;
          const at = p + i + j;
          m[at] = (m[at] as number) + a00 * x0 + a10 * x1;
          m[at + 1] = (m[at + 1] as number) + a01 * x0 + a11 * x1;
        }
        const cross = m[r0 + 1] as number;
        const h0 = (m[r0] as number) * x0 + cross * x1;
        const h1 = (m[r1 + 1] as number) * x1 + cross * x0;
        m[p + i] = (m[p + i] as number) + (h0 + (s00 + s01));
        m[p + i + 1] = (m[p + i + 1] as number) + (h1 + (s10 + s11));
      }
    },
    rankTwoUpdate: (diagonal, stride, v, w, count) => {
      for (let i = 0; i < count; i += 2) {
        const r0 = diagonal + i * (stride + 1);
        const r1 = r0 + stride;
        const v0 = m[v + i] as number;
        const v1 = m[v + i + 1] as number;
        const w0 = m[w + i] as number;
        const w1 = m[w + i + 1] as number;
        m[r0] = (m[r0] as number) - 2 * v0 * w0;
        for (let j = 1; i + j <= count; j++) {
          const vj = m[v + i + j] as number;
          const wj = m[w + i + j] as number;
          m[r0 + j] = (m[r0 + j] as number) - v0 * wj - w0 * vj;
          m[r1 + j] = (m[r1 + j] as number) - v1 * wj - w1 * vj;
        }
      }
    },
    reflectPanel: (v, panel, count, tau) => {
      for (let half = panel; half < panel + PANEL; half += 4) {
        let u0 = 0;
        let u1 = 0;
        let u2 = 0;
        let u3 = 0;
        for (let i = 0, at = half; i < count; i++, at += PANEL) {
          const x = m[v + i] as number;
          u0 += x * (m[at] as number);
          u1 += x * (m[at + 1] as number);
          u2 += x * (m[at + 2] as number);
          u3 += x * (m[at + 3] as number);
        }
        u0 *= tau;
        u1 *= tau;
        u2 *= tau;
        u3 *= tau;
        for (let i = 0, at = half; i < count; i++, at += PANEL) {
          const x = m[v + i] as number;
          m[at] = (m[at] as number) - x * u0;
          m[at + 1] = (m[at + 1] as number) - x * u1;
          m[at + 2] = (m[at + 2] as number) - x * u2;
          m[at + 3] = (m[at + 3] as number) - x * u3;
        }
      }
    },
    rotatePanel: (cos, sin, count, top) => {
      for (let half = top; half < top + PANEL; half += 4) {
        let at = half;
        let h0 = m[at] as number;
        let h1 = m[at + 1] as number;
        let h2 = m[at + 2] as number;
        let h3 = m[at + 3] as number;
        for (let k = 0; k < count; k++) {
          const c = m[cos + k] as number;
          const s = m[sin + k] as number;
          const next = at - PANEL;
          const x0 = m[next] as number;
          const x1 = m[next + 1] as number;
          const x2 = m[next + 2] as number;
          const x3 = m[next + 3] as number;
          m[at] = s * x0 + c * h0;
          m[at + 1] = s * x1 + c * h1;
          m[at + 2] = s * x2 + c * h2;
          m[at + 3] = s * x3 + c * h3;
          h0 = c * x0 - s * h0;
          h1 = c * x1 - s * h1;
          h2 = c * x2 - s * h2;
          h3 = c * x3 - s * h3;
          at = next;
        }
        m[at] = h0;
        m[at + 1] = h1;
        m[at + 2] = h2;
        m[at + 3] = h3;
      }
    },
  };
}
