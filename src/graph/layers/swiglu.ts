import type { Tensor } from '../graph';
import { add, mul, sigmoid, silu, sub } from '../ops/elementwise';

/**
 * The gated activation of the Llama family's feed-forward layers, `silu(gate) * up` (Shazeer 2020),
 * elementwise. With s = sigmoid(gate), dy the gradient of the result and du = dy * silu(gate) that of
 * `up`, the gradient of `gate` is up * (du + s * (dy - du)): the tensors are the widest of a block, so it
 * is written with the fewest passes over them, and from those values alone that are there anyway, since
 * a block's memory is at its peak here.
 * @param gate of the shape of `up`, as the result
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  const activated = silu(gate);
  return gate.graph.withOrigin(mul(activated, up), {
    inputs: [gate, up],
    vjp: (dy) => {
      const upGradient = mul(dy, activated);
      const mixed = add(mul(sigmoid(gate), sub(dy, upGradient)), upGradient);
      return [mul(mixed, up), upGradient];
    },
  });
}
