/** A pair of matrices whose product, times a factor, changes a weight. */
export interface LoraPair {
  /** `[rank, in]` */
  a: Float32Array;
  /** `[out, rank]` */
  b: Float32Array;
  rank: number;
  /** What B A is multiplied by. */
  factor: number;
}

/** `minuend - subtrahend` as one pair: the ranks add up. Both have the same factor. */
export function pairDifference(minuend: LoraPair, subtrahend: LoraPair): LoraPair {
  const { factor } = minuend;
  const rank = minuend.rank + subtrahend.rank;
  const a = new Float32Array(minuend.a.length + subtrahend.a.length);
  a.set(minuend.a);
  a.set(subtrahend.a, minuend.a.length);
  const outFeatures = minuend.b.length / minuend.rank;
  const b = new Float32Array(outFeatures * rank);
  for (let row = 0; row < outFeatures; row++) {
    const at = row * rank;
    b.set(minuend.b.subarray(row * minuend.rank, (row + 1) * minuend.rank), at);
    for (let k = 0; k < subtrahend.rank; k++) {
      b[at + minuend.rank + k] = -(subtrahend.b[row * subtrahend.rank + k] as number);
    }
  }
  return { a, b, rank, factor };
}

/** @param data `[rows, cols]` @returns `[cols, rows]` */
export function transposed(data: Float32Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j] as number;
  }
  return out;
}
