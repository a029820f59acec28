/**
 * Broadcasting and its adjoint, summation: each is the other's gradient rule, so they stand
 * together.
 */
import type { Origin, Tensor } from '../graph';
import { broadcastShapes, formatShape, sameShape, type Shape, sizeOf } from '../shape';

export function reshape(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  if (sizeOf(x.shape) !== sizeOf(shape)) {
    throw new Error(`cannot reshape ${formatShape(x.shape)} to ${formatShape(shape)}`);
  }
  return x.graph.node('Reshape', [x, x.graph.integers(shape)], shape, {
    origin: { inputs: [x], vjp: (dy) => [reshape(dy, x.shape)] },
  });
}

/** Broadcasts to a shape. */
export function expand(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  if (!sameShape(broadcastShapes(x.shape, shape), shape)) {
    throw new Error(`cannot expand ${formatShape(x.shape)} to ${formatShape(shape)}`);
  }
  return x.graph.node('Expand', [x, x.graph.integers(shape)], shape, {
    origin: { inputs: [x], vjp: (dy) => [unbroadcast(dy, x.shape)] },
  });
}

function reducedShape(shape: Shape, axes: readonly number[]): number[] {
  const reduced = new Set(axes.map((axis) => (axis < 0 ? shape.length + axis : axis)));
  return shape.map((size, axis) => (reduced.has(axis) ? 1 : size));
}

/** A reduction that keeps the reduced axes with size 1; axes may be negative. */
export function reduce(op: string, x: Tensor, axes: readonly number[], origin?: Origin): Tensor {
  return x.graph.node(op, [x, x.graph.integers(axes)], reducedShape(x.shape, axes), {
    attributes: [{ name: 'keepdims', int: 1 }],
    ...(origin && { origin }),
  });
}

export function reduceSum(x: Tensor, axes: readonly number[]): Tensor {
  return reduce('ReduceSum', x, axes, { inputs: [x], vjp: (dy) => [expand(dy, x.shape)] });
}

/** Sums a gradient over the axes along which its tensor was broadcast. */
export function unbroadcast(gradient: Tensor, shape: Shape): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient;
  const lead = gradient.shape.length - shape.length;
  const axes = gradient.shape.flatMap((size, axis) =>
    axis < lead || (shape[axis - lead] === 1 && size !== 1) ? [axis] : [],
  );
  return reshape(axes.length === 0 ? gradient : sumOver(gradient, axes), shape);
}

/** Columns from which a product is worth its overhead. */
const WIDE = 256;

/**
 * As `reduceSum`; but over the first axis it is a product with a row of ones, which takes the CPU
 * provider a tenth of the time: its own reduction there goes down one column after the other.
 */
function sumOver(x: Tensor, axes: readonly number[]): Tensor {
  const [first = 1, ...others] = x.shape;
  const columns = sizeOf(others);
  if (axes.length !== 1 || axes[0] !== 0 || columns < WIDE) return reduceSum(x, axes);
  const ones = x.graph.floats(x.dtype, Array<number>(first).fill(1), [1, first]);
  return x.graph.node('MatMul', [ones, reshape(x, [first, columns])], [1, columns]);
}
