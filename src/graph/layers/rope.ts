import { dimension } from '../shape';
import type { Tensor } from '../graph';
import { add, mul, neg, sub } from '../ops/elementwise';
import { concat, slice } from '../ops/layout';

/**
 * Rotary position embedding in the "rotate half" layout of the Llama checkpoints: the pairs are
 * (x_i, x_{i + headDim/2}). A rotation's adjoint is the rotation by the opposite angle.
 * @param x `[tokens, heads, headDim]`
 * @param cos `[tokens, 1, headDim / 2]`, as `sin`
 */
export function rope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const [tokens, heads] = x.shape as [number, number];
  const headDim = dimension(x.shape, -1);
  const half = headDim / 2;
  const first = slice(x, [0, 0, 0], [tokens, heads, half]);
  const second = slice(x, [0, 0, half], [tokens, heads, headDim]);
  const rotated = concat(
    [sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))],
    -1,
  );
  return x.graph.withOrigin(rotated, { inputs: [x], vjp: (dy) => [rope(dy, cos, neg(sin))] });
}
