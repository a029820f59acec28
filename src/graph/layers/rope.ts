import { dimension } from '../shape';
import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add, mul, neg, scale, sub } from '../ops/elementwise';
import { concat, slice } from '../ops/layout';

/**
 * Rotary position embedding in the "rotate half" layout of the Llama checkpoints: the pairs are
 * (x_i, x_{i + headDim/2}). A rotation's adjoint is the rotation by the opposite angle.
 * @param x `[tokens, heads, headDim]`
 * @param cos `[tokens, 1, headDim / 2]`, as `sin`
 * @param factor that the result is multiplied by, in the tables: they are smaller than `x`
 */
export function rope(x: Tensor, cos: Tensor, sin: Tensor, factor = 1): Tensor {
  if (factor !== 1) return rope(x, scale(cos, factor), scale(sin, factor));
  const [tokens, heads] = x.shape as [number, number];
  const headDim = dimension(x.shape, -1);
  const half = headDim / 2;
  const opposite = (dy: Tensor): readonly [Tensor] => [rope(dy, cos, neg(sin))];
  if (x.dtype === 'float32') {
    return x.graph.withOrigin(fusedRope(x, cos, sin), { inputs: [x], vjp: opposite });
  }
  const first = slice(x, [0, 0, 0], [tokens, heads, half]);
  const second = slice(x, [0, 0, half], [tokens, heads, headDim]);
  const rotated = concat(
    [sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))],
    -1,
  );
  return x.graph.withOrigin(rotated, { inputs: [x], vjp: opposite });
}

/** The runtime's own operator, whose batch is one sequence of all tokens: row t of the tables is token t's. */
function fusedRope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const [tokens, heads, headDim] = x.shape as [number, number, number];
  const table = (values: Tensor): Tensor => reshape(values, [tokens, headDim / 2]);
  const flat = reshape(x, [1, tokens, heads * headDim]);
  const firstPosition = x.graph.integers([0]);
  const inputs = [flat, firstPosition, table(cos), table(sin)];
  const rotated = x.graph.node('RotaryEmbedding', inputs, flat.shape, {
    attributes: [{ name: 'num_heads', int: heads }],
  });
  return reshape(rotated, x.shape);
}
