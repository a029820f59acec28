import { dimension } from '../shape';
import type { Tensor } from '../graph';
import { unbroadcast } from '../ops/broadcast';
import { addScalar, mul, reciprocal, sqrt, sub } from '../ops/elementwise';
import { reduceMean } from '../ops/reduce';

/**
 * Root-mean-square normalisation over the last axis, `x / sqrt(mean(x^2) + eps) * weight`
 * (Zhang & Sennrich 2019), from primitives that every provider has.
 * @param weight `[width]`
 * @param keep hands `1 / sqrt(mean(x^2) + eps)`, `[..., 1]`, to the backward pass
 */
export function rmsNorm(
  x: Tensor,
  weight: Tensor,
  eps: number,
  keep: (inverse: Tensor) => Tensor = (inverse) => inverse,
): Tensor {
  if (weight.shape[0] !== dimension(x.shape, -1))
    throw new Error('rmsNorm: weight has wrong width');
  const inverse = keep(reciprocal(sqrt(addScalar(reduceMean(mul(x, x), [-1]), eps))));
  const normalised = mul(x, inverse);
  return x.graph.withOrigin(mul(normalised, weight), {
    inputs: [x, weight],
    vjp: (dy) => {
      // With g = dy * weight and n = x * inverse: dx = inverse * (g - n * mean(g * n)).
      const g = mul(dy, weight);
      const projection = reduceMean(mul(g, normalised), [-1]);
      return [
        mul(inverse, sub(g, mul(normalised, projection))),
        unbroadcast(mul(dy, normalised), weight.shape),
      ];
    },
  });
}
