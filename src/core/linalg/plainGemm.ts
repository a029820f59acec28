/** Matrix products in plain TypeScript: the `Gemm` of tests and of matrices too small to ship. */
import type { Gemm, Matrix } from '../gemm';

type Floats = Float32Array | Float64Array;

/**
 * `op(a) * op(b)` accumulated in fp64 (fp32 inputs too: the result is rounded once).
 * @throws Error when the inner sizes differ
 */
function multiply<T extends Floats>(
  a: Matrix<T>,
  b: Matrix<T>,
  create: (size: number) => T,
  options: { transposeA?: boolean; transposeB?: boolean } = {},
): Matrix<T> {
  const m = options.transposeA ? a.cols : a.rows;
  const inner = options.transposeA ? a.rows : a.cols;
  const n = options.transposeB ? b.rows : b.cols;
  const innerB = options.transposeB ? b.cols : b.rows;
  if (inner !== innerB) throw new Error(`Gemm: inner sizes ${inner} and ${innerB} differ.`);
  const out = create(m * n);
  const row = new Float64Array(n);
  const [strideRow, strideInner] = options.transposeA ? [1, a.cols] : [a.cols, 1];
  for (let i = 0; i < m; i++) {
    if (options.transposeB) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        const base = j * inner;
        for (let k = 0; k < inner; k++)
          sum += (a.data[i * strideRow + k * strideInner] as number) * (b.data[base + k] as number);
        row[j] = sum;
      }
    } else {
      row.fill(0);
      for (let k = 0; k < inner; k++) {
        const x = a.data[i * strideRow + k * strideInner] as number;
        if (x === 0) continue;
        const base = k * n;
        for (let j = 0; j < n; j++) row[j] = (row[j] as number) + x * (b.data[base + j] as number);
      }
    }
    out.set(row, i * n);
  }
  return { data: out, rows: m, cols: n };
}

export const plainGemm: Gemm = {
  f32: (a, b, options) =>
    Promise.resolve(multiply(a, b, (size) => new Float32Array(size), options)),
  f64: (a, b, options) =>
    Promise.resolve(multiply(a, b, (size) => new Float64Array(size), options)),
};
