/** Gram matrices in fp64 of fp32 data, in bounded memory. */
import type { Gemm, Matrix } from '../gemm';

/** 4 MiB of fp64 a chunk: large enough for the GEMM's speed, small against the matrix. */
const CHUNK = 1 << 19;

/**
 * `X X^T` (`rows`) or `X^T X` (`cols`) of a row-major X, accumulated in fp64. fp64 is what makes a
 * Gram matrix trustworthy: the singular values' floor is 1e-8 of the largest, below the noise of
 * fp32 data, where fp32 would stop at 3e-4.
 * @param between awaited after each chunk, with the share that is done; may throw to stop
 * @returns symmetric `[rows, rows]` or `[cols, cols]`
 */
export async function gram(
  x: Matrix<Float32Array>,
  side: 'rows' | 'cols',
  gemm: Gemm,
  between?: (share: number) => Promise<void>,
): Promise<Float64Array> {
  return side === 'rows' ? gramOfRows(x, gemm, between) : gramOfColumns(x, gemm, between);
}

async function gramOfRows(
  x: Matrix<Float32Array>,
  gemm: Gemm,
  between?: (share: number) => Promise<void>,
): Promise<Float64Array> {
  const { rows, cols, data } = x;
  const total = new Float64Array(rows * rows);
  const width = Math.max(1, Math.min(cols, Math.floor(CHUNK / rows)));
  const buffer = new Float64Array(rows * width);
  for (let start = 0; start < cols; start += width) {
    const w = Math.min(width, cols - start);
    const chunk = w === width ? buffer : new Float64Array(rows * w);
    for (let i = 0; i < rows; i++)
      chunk.set(data.subarray(i * cols + start, i * cols + start + w), i * w);
    const block = { data: chunk, rows, cols: w };
    addTo(total, (await gemm.f64(block, block, { transposeB: true })).data);
    await between?.((start + w) / cols);
  }
  return total;
}

async function gramOfColumns(
  x: Matrix<Float32Array>,
  gemm: Gemm,
  between?: (share: number) => Promise<void>,
): Promise<Float64Array> {
  const { rows, cols, data } = x;
  const total = new Float64Array(cols * cols);
  const height = Math.max(1, Math.min(rows, Math.floor(CHUNK / cols)));
  const buffer = new Float64Array(height * cols);
  for (let start = 0; start < rows; start += height) {
    const h = Math.min(height, rows - start);
    const chunk = h === height ? buffer : new Float64Array(h * cols);
    chunk.set(data.subarray(start * cols, (start + h) * cols));
    const block = { data: chunk, rows: h, cols };
    addTo(total, (await gemm.f64(block, block, { transposeA: true })).data);
    await between?.((start + h) / rows);
  }
  return total;
}

function addTo(total: Float64Array, part: Float64Array): void {
  for (let i = 0; i < total.length; i++) total[i] = (total[i] as number) + (part[i] as number);
}

/** Sum of squares in fp64 (fp32 would lose the discarded energy in 16 million terms). */
export function energyOf(values: Float32Array | Float64Array): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const n4 = values.length - (values.length % 4);
  for (let i = 0; i < n4; i += 4) {
    s0 += (values[i] as number) ** 2;
    s1 += (values[i + 1] as number) ** 2;
    s2 += (values[i + 2] as number) ** 2;
    s3 += (values[i + 3] as number) ** 2;
  }
  for (let i = n4; i < values.length; i++) s0 += (values[i] as number) ** 2;
  return s0 + s1 + (s2 + s3);
}
