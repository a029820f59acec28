import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add, scale } from '../ops/elementwise';
import { concat, slice, transpose, transposeLast } from '../ops/layout';
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
 * Scores of one chunk of queries, in bytes: half of the smallest buffer that a WebGPU adapter may
 * bind (128 MiB), and little enough that long sequences don't need memory by the square.
 */
const MAX_SCORES_BYTES = 2 ** 26;

/** Queries at once: all where their scores fit. */
export function queriesAtOnce(
  { batch, sequence, heads }: Omit<AttentionShape, 'keyValueHeads' | 'headDim'>,
  limit = MAX_SCORES_BYTES,
): number {
  const perQuery = 4 * batch * heads * sequence;
  if (perQuery * sequence <= limit) return sequence;
  return Math.max(1, Math.floor(limit / perQuery));
}

/**
 * Puts the keys or values of earlier tokens before those of the current ones.
 * @param current `[batch, keyValueHeads, sequence, headDim]`
 * @returns `[batch, keyValueHeads, total, headDim]`, total >= sequence
 */
export type PrependPast = (kind: 'key' | 'value', current: Tensor) => Tensor;

/**
 * Causal grouped-query attention. The query heads that share a key head are folded into rows, so keys
 * and values are never repeated and their gradients' sums over the group happen inside the product.
 * Long sequences are cut into chunks of queries, each of which looks at no later key.
 * @param query `[tokens, heads, headDim]` with tokens = batch * sequence
 * @param key `[tokens, keyValueHeads, headDim]`, as `value`
 * @param mask added to the scores, `[batch, 1, 1, sequence, total]`; blocks later keys
 * @param prependPast for generation; without it total = sequence
 * @param atOnce queries a chunk
 * @returns `[tokens, heads * headDim]`
 */
export function attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  mask: Tensor,
  shape: AttentionShape,
  prependPast?: PrependPast,
  atOnce = queriesAtOnce(shape),
): Tensor {
  const { batch, sequence, heads, keyValueHeads, headDim } = shape;
  const group = heads / keyValueHeads;

  const grouped = reshape(query, [batch, sequence, keyValueHeads, group, headDim]);
  const q = transpose(scale(grouped, 1 / Math.sqrt(headDim)), [0, 2, 3, 1, 4]);
  const perHead = [batch, sequence, keyValueHeads, headDim];
  const headsFirst = (x: Tensor): Tensor => transpose(reshape(x, perHead), [0, 2, 1, 3]);
  const k = prependPast
    ? transposeLast(prependPast('key', headsFirst(key)))
    : transpose(reshape(key, perHead), [0, 2, 3, 1]);
  const v = prependPast ? prependPast('value', headsFirst(value)) : headsFirst(value);
  const total = dimension(v.shape, 2);

  const chunk = (first: number, last: number): Tensor => {
    const count = last - first;
    // Every query of the chunk looks at all keys before the current ones.
    const end = total - sequence + last;
    const folded = [batch, keyValueHeads, group * count];
    const some = slice(q, [0, 0, 0, first, 0], [batch, keyValueHeads, group, last, headDim]);
    const keys = slice(k, [0, 0, 0, 0], [batch, keyValueHeads, headDim, end]);
    const values = slice(v, [0, 0, 0, 0], [batch, keyValueHeads, end, headDim]);
    const allowed = slice(mask, [0, 0, 0, first, 0], [dimension(mask.shape, 0), 1, 1, last, end]);
    const scores = matmul(reshape(some, [...folded, headDim]), keys);
    const unfolded = reshape(scores, [batch, keyValueHeads, group, count, end]);
    const weights = reshape(softmax(add(unfolded, allowed)), [...folded, end]);
    return reshape(matmul(weights, values), [batch, keyValueHeads, group, count, headDim]);
  };
  const chunks: Tensor[] = [];
  for (let first = 0; first < sequence; first += atOnce) {
    chunks.push(chunk(first, Math.min(sequence, first + atOnce)));
  }
  const mixed = chunks.length === 1 ? (chunks[0] as Tensor) : concat(chunks, 3);
  return reshape(transpose(mixed, [0, 3, 1, 2, 4]), [batch * sequence, heads * headDim]);
}
