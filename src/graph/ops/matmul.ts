/** Matrix products. */
import { broadcastShapes, dimension, formatShape } from '../shape';
import type { Tensor } from '../graph';
import { reshape, unbroadcast } from './broadcast';
import { transpose, transposeLast } from './layout';

/** Batched product `[..., m, k] x [..., k, n]`, leading axes broadcast. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  const rank = Math.max(a.shape.length, b.shape.length);
  if (dimension(a.shape, -1) !== dimension(b.shape, -2)) {
    throw new Error(`cannot multiply ${formatShape(a.shape)} by ${formatShape(b.shape)}`);
  }
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const shape = [...batch, dimension(a.shape, -2), dimension(b.shape, -1)];
  if (shape.length !== rank) throw new Error('matmul needs matrices');
  return a.graph.node('MatMul', [a, b], shape, {
    origin: {
      inputs: [a, b],
      vjp: (dy) => [
        unbroadcast(matmul(dy, transposeLast(b)), a.shape),
        unbroadcast(matmul(transposeLast(a), dy), b.shape),
      ],
    },
  });
}

/**
 * One matrix from the left on many: `left [m, k]` times each `x [t, k, n]`, `[t, m, n]`. As `matmul` in
 * its values; but the gradient of `left` is one product over all of them, where a broadcast product's
 * would hold a matrix for each and sum them.
 */
export function leftMatmul(left: Tensor, x: Tensor): Tensor {
  const [m, k] = left.shape as [number, number];
  const [count, , n] = x.shape as [number, number, number];
  const product = matmul(left, x);
  return left.graph.withOrigin(product, {
    inputs: [left, x],
    vjp: (dy) => {
      const rowsFirst = (values: Tensor, rows: number): Tensor =>
        reshape(transpose(values, [1, 0, 2]), [rows, count * n]);
      return [
        gemm(rowsFirst(dy, m), rowsFirst(x, k), { transposeB: true }),
        leftMatmul(transposeLast(left), dy),
      ];
    },
  });
}

/**
 * `op(a) op(b)` of two matrices. Gemm transposes while it packs, so no copy of a weight is made in
 * either direction.
 */
export function gemm(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false } = {},
): Tensor {
  const m = dimension(a.shape, transposeA ? 1 : 0);
  const k = dimension(a.shape, transposeA ? 0 : 1);
  const n = dimension(b.shape, transposeB ? 0 : 1);
  if (
    a.shape.length !== 2 ||
    b.shape.length !== 2 ||
    dimension(b.shape, transposeB ? 1 : 0) !== k
  ) {
    throw new Error(`cannot multiply ${formatShape(a.shape)} by ${formatShape(b.shape)}`);
  }
  return a.graph.node('Gemm', [a, b], [m, n], {
    attributes: [
      { name: 'transA', int: transposeA ? 1 : 0 },
      { name: 'transB', int: transposeB ? 1 : 0 },
    ],
    origin: {
      inputs: [a, b],
      vjp: (dy) => [
        transposeA
          ? gemm(b, dy, { transposeA: transposeB, transposeB: true })
          : gemm(dy, b, { transposeB: !transposeB }),
        transposeB
          ? gemm(dy, a, { transposeA: true, transposeB: transposeA })
          : gemm(a, dy, { transposeA: !transposeA }),
      ],
    },
  });
}
