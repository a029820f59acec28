import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add, scale } from '../ops/elementwise';
import { concat, slice, transpose } from '../ops/layout';
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
 * Causal grouped-query attention. The query heads that share a key head are folded into rows, so keys
 * and values are never repeated and their gradients' sums over the group happen inside the product.
 * Long sequences are cut into chunks of queries, each of which looks at no later key.
 * @param query `[tokens, heads, headDim]` with tokens = batch * sequence
 * @param key `[tokens, keyValueHeads, headDim]`, as `value`
 * @param mask added to the scores, `[batch, 1, 1, sequence, sequence]`; blocks later keys
 * @returns `[tokens, heads * headDim]`
 */
export function attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  mask: Tensor,
  shape: AttentionShape,
  atOnce = queriesAtOnce(shape),
): Tensor {
  const { batch, sequence, heads, keyValueHeads, headDim } = shape;
  const group = heads / keyValueHeads;

  const grouped = reshape(query, [batch, sequence, keyValueHeads, group, headDim]);
  const q = transpose(scale(grouped, 1 / Math.sqrt(headDim)), [0, 2, 3, 1, 4]);
  const perHead = [batch, sequence, keyValueHeads, headDim];
  const k = transpose(reshape(key, perHead), [0, 2, 3, 1]);
  const v = transpose(reshape(value, perHead), [0, 2, 1, 3]);

  const chunk = (first: number, end: number): Tensor => {
    const count = end - first;
    const folded = [batch, keyValueHeads, group * count];
    const some = slice(q, [0, 0, 0, first, 0], [batch, keyValueHeads, group, end, headDim]);
    const keys = slice(k, [0, 0, 0, 0], [batch, keyValueHeads, headDim, end]);
    const values = slice(v, [0, 0, 0, 0], [batch, keyValueHeads, end, headDim]);
    const allowed = slice(mask, [0, 0, 0, first, 0], [batch, 1, 1, end, end]);
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
