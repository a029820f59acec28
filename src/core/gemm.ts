/**
 * Dense matrix products as the decomposition needs them. Implemented on onnxruntime by the trainer;
 * a plain TypeScript version serves tests and small matrices.
 */
export type Matrix<T extends Float32Array | Float64Array> = {
  /** Row-major. */
  data: T;
  rows: number;
  cols: number;
};

export interface Gemm {
  /** `op(a) * op(b)`, op = transpose where asked. */
  f32(
    a: Matrix<Float32Array>,
    b: Matrix<Float32Array>,
    options?: { transposeA?: boolean; transposeB?: boolean },
  ): Promise<Matrix<Float32Array>>;
  f64(
    a: Matrix<Float64Array>,
    b: Matrix<Float64Array>,
    options?: { transposeA?: boolean; transposeB?: boolean },
  ): Promise<Matrix<Float64Array>>;
}
