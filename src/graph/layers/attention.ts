import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add, scale } from '../ops/elementwise';
import { transpose, transposeLast } from '../ops/layout';
import { matmul } from '../ops/matmul';
import { softmax } from '../ops/reduce';
import { dimension } from '../shape';

export interface AttentionShape {
  batch: number;
  sequence: number;
  heads: number;
  keyValueHeads: number;
  headDim: number;
}

/**
 * Puts the keys or values of earlier tokens before those of the current ones.
 * @param current `[batch, keyValueHeads, sequence, headDim]`
 * @returns `[batch, keyValueHeads, total, headDim]`, total >= sequence
 */
export type PrependPast = (kind: 'key' | 'value', current: Tensor) => Tensor;

/**
 * Grouped-query attention. The query heads that share a key head are folded into rows, so keys and
 * values are never repeated and their gradients' sums over the group happen inside the product.
 * @param query `[tokens, heads, headDim]` with tokens = batch * sequence
 * @param key `[tokens, keyValueHeads, headDim]`, as `value`
 * @param mask added to the scores, `[batch, 1, 1, sequence, total]`
 * @param prependPast for generation; without it total = sequence
 * @returns `[tokens, heads * headDim]`
 */
export function attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  mask: Tensor,
  shape: AttentionShape,
  prependPast?: PrependPast,
): Tensor {
  const { batch, sequence, heads, keyValueHeads, headDim } = shape;
  const group = heads / keyValueHeads;
  const rows = group * sequence;

  const grouped = reshape(query, [batch, sequence, keyValueHeads, group, headDim]);
  const q = reshape(transpose(grouped, [0, 2, 3, 1, 4]), [batch, keyValueHeads, rows, headDim]);
  const perHead = [batch, sequence, keyValueHeads, headDim];
  const headsFirst = (x: Tensor): Tensor => transpose(reshape(x, perHead), [0, 2, 1, 3]);
  const k = prependPast
    ? transposeLast(prependPast('key', headsFirst(key)))
    : transpose(reshape(key, perHead), [0, 2, 3, 1]);
  const v = prependPast ? prependPast('value', headsFirst(value)) : headsFirst(value);
  const total = dimension(v.shape, 2);

  const scores = matmul(scale(q, 1 / Math.sqrt(headDim)), k);
  const folded = [batch, keyValueHeads, rows, total];
  const unfolded = [batch, keyValueHeads, group, sequence, total];
  const weights = softmax(add(reshape(scores, unfolded), mask));
  const mixed = matmul(reshape(weights, folded), v);

  const heads5 = reshape(mixed, [batch, keyValueHeads, group, sequence, headDim]);
  return reshape(transpose(heads5, [0, 3, 1, 2, 4]), [batch * sequence, heads * headDim]);
}
