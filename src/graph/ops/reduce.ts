/** Reductions and softmax. Axes may be negative; reduced axes are kept with size 1. */
import { dimension } from '../shape';
import type { Tensor } from '../graph';
import { expand, reduce, reduceSum } from './broadcast';
import { mul, scale, sub } from './elementwise';

export function reduceMean(x: Tensor, axes: readonly number[]): Tensor {
  const count = axes.reduce((product, axis) => product * dimension(x.shape, axis), 1);
  return reduce('ReduceMean', x, axes, {
    inputs: [x],
    vjp: (dy) => [expand(scale(dy, 1 / count), x.shape)],
  });
}

/** Not differentiable: used to shift exponents, where its gradient cancels. */
export function reduceMax(x: Tensor, axes: readonly number[]): Tensor {
  return reduce('ReduceMax', x, axes);
}

/** Sum of squares of all elements, `[]`; not differentiable. */
export function sumOfSquares(x: Tensor): Tensor {
  return x.graph.node('ReduceSumSquare', [x], [], { attributes: [{ name: 'keepdims', int: 0 }] });
}

/** Softmax over the last axis. */
export function softmax(x: Tensor): Tensor {
  const y: Tensor = x.graph.node('Softmax', [x], x.shape, {
    attributes: [{ name: 'axis', int: -1 }],
    origin: {
      inputs: [x],
      vjp: (dy) => [mul(y, sub(dy, reduceSum(mul(dy, y), [-1])))],
    },
  });
  return y;
}
