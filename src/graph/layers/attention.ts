import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add, scale } from '../ops/elementwise';
import { transpose } from '../ops/layout';
import { matmul } from '../ops/matmul';
import { softmax } from '../ops/reduce';

export interface AttentionShape {
  batch: number;
  sequence: number;
  heads: number;
  keyValueHeads: number;
  headDim: number;
}

/**
 * Grouped-query attention. The query heads that share a key head are folded into rows, so keys and
 * values are never repeated and their gradients' sums over the group happen inside the product.
 * @param query `[tokens, heads, headDim]` with tokens = batch * sequence
 * @param key `[tokens, keyValueHeads, headDim]`, as `value`
 * @param mask added to the scores, `[batch, 1, 1, sequence, sequence]`
 * @returns `[tokens, heads * headDim]`
 */
export function attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  mask: Tensor,
  shape: AttentionShape,
): Tensor {
  const { batch, sequence, heads, keyValueHeads, headDim } = shape;
  const group = heads / keyValueHeads;
  const rows = group * sequence;

  const grouped = reshape(query, [batch, sequence, keyValueHeads, group, headDim]);
  const q = reshape(transpose(grouped, [0, 2, 3, 1, 4]), [batch, keyValueHeads, rows, headDim]);
  const perHead = [batch, sequence, keyValueHeads, headDim];
  const k = transpose(reshape(key, perHead), [0, 2, 3, 1]);
  const v = transpose(reshape(value, perHead), [0, 2, 1, 3]);

  const scores = matmul(scale(q, 1 / Math.sqrt(headDim)), k);
  const folded = [batch, keyValueHeads, rows, sequence];
  const unfolded = [batch, keyValueHeads, group, sequence, sequence];
  const weights = softmax(add(reshape(scores, unfolded), mask));
  const mixed = matmul(reshape(weights, folded), v);

  const heads5 = reshape(mixed, [batch, keyValueHeads, group, sequence, headDim]);
  return reshape(transpose(heads5, [0, 3, 1, 2, 4]), [batch * sequence, heads * headDim]);
}
