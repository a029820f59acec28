import type { Tensor } from '../graph';
import { add, mul, sigmoid, silu, sub } from '../ops/elementwise';

/**
 * The gated activation of the Llama family's feed-forward layers, `silu(gate) * up` (Shazeer 2020),
 * elementwise. With s = sigmoid(gate) and h the result, d(h)/d(gate) = s * (up - h) + h: the tensors are
 * the widest of a block, so the derivative is written with the fewest passes over them.
 * @param gate of the shape of `up`, as the result
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  const activated = silu(gate);
  const product = mul(activated, up);
  return gate.graph.withOrigin(product, {
    inputs: [gate, up],
    vjp: (dy) => [mul(dy, add(mul(sigmoid(gate), sub(up, product)), product)), mul(dy, activated)],
  });
}
