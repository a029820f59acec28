/**
 * Causal grouped-query attention in pieces. The scores of one piece at a time exist, in both
 * directions: the backward pass computes each piece's probabilities again (Dao et al. 2022,
 * arXiv:2205.14135; this is the part of it that plain operators can express).
 */
import type { Tensor } from '../graph';
import { reduceSum, reshape } from '../ops/broadcast';
import { mul } from '../ops/elementwise';
import { concat, slice, transpose } from '../ops/layout';
import { matmul } from '../ops/matmul';
import { dimension } from '../shape';
import {
  type AttentionCut,
  attentionGroups,
  type AttentionSize,
  wholeAttention,
} from './attentionCut';
import {
  type AttentionInputs,
  folded,
  inGroup,
  inputGradients,
  joinedGroups,
  type MaskOf,
  probabilities,
  rows,
} from './attentionPieces';

export interface AttentionShape extends AttentionSize {
  headDim: number;
}

/**
 * Puts the keys or values of earlier tokens before those of the current ones.
 * @param current `[batch, keyValueHeads, sequence, headDim]`
 * @returns `[batch, keyValueHeads, total, headDim]`, total >= sequence
 */
export type PrependPast = (kind: 'key' | 'value', current: Tensor) => Tensor;

export interface AttentionOptions {
  /** All at once unless given. */
  cut?: AttentionCut | undefined;
  /** Tokens that a query sees, itself included; the masks say the same. */
  window?: number | undefined;
  /** For generation: earlier tokens, which every query sees as far as the masks allow. */
  prependPast?: PrependPast | undefined;
  /** Hands what the backward pass needs to it: the inputs as they are used, and the result. */
  keep?: (name: 'q' | 'k' | 'v' | 'context', value: Tensor) => Tensor;
}

/** Masks out of a single one, `[batch, 1, 1, sequence, total]`. */
export function maskSlices(mask: Tensor): MaskOf {
  return ({ sequences }, { queries, keys }) =>
    slice(
      mask,
      [sequences[0], 0, 0, queries[0], keys[0]],
      [sequences[1], 1, 1, queries[1], keys[1]],
    );
}

/**
 * The query heads that share a key head are folded into rows, so keys and values are never repeated
 * and their gradients' sums over the group happen inside the product.
 * @param query `[tokens, heads, headDim]` with tokens = batch * sequence, scaled by 1 / sqrt(headDim)
 * @param key `[tokens, keyValueHeads, headDim]`, as `value`
 * @returns `[tokens, heads * headDim]`
 */
export function attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  maskOf: MaskOf,
  shape: AttentionShape,
  options: AttentionOptions = {},
): Tensor {
  const { batch, sequence, heads, keyValueHeads, headDim } = shape;
  const { cut = wholeAttention(shape), window, prependPast, keep = (_, x) => x } = options;
  const grouped = [batch, sequence, keyValueHeads, heads / keyValueHeads, headDim];
  const perHead = [batch, sequence, keyValueHeads, headDim];

  const q = keep('q', headsFirst(reshape(query, grouped)));
  const oneHead = (x: Tensor): Tensor => transpose(reshape(x, perHead), [0, 2, 1, 3]);
  const k = keep('k', prependPast ? prependPast('key', oneHead(key)) : oneHead(key));
  const v = keep('v', prependPast ? prependPast('value', oneHead(value)) : oneHead(value));
  const inputs: AttentionInputs = { q, k, v, maskOf };
  const earlier = dimension(v.shape, 2) - sequence;
  const groups = attentionGroups(shape, cut, { window, earlier });

  // Of the only piece: then the backward pass need not compute them again.
  let weights: Tensor | undefined;
  const mixed = groups.map((group) => {
    const values = inGroup(v, group);
    const parts = group.pieces.map((piece) => {
      weights = probabilities(inputs, group, piece);
      const product = matmul(folded(weights), rows(values, piece.keys));
      return reshape(product, [...weights.shape.slice(0, -1), headDim]);
    });
    return parts.length === 1 ? (parts[0] as Tensor) : concat(parts, 3);
  });
  const flat = [batch * sequence, heads * headDim];
  const context = keep(
    'context',
    reshape(transpose(joinedGroups(groups, mixed), [0, 3, 1, 2, 4]), flat),
  );
  return context.graph.withOrigin(context, {
    inputs: [q, k, v],
    vjp: (dContext) => {
      const dMixed = reshape(dContext, grouped);
      // What the softmax takes from each row, sum(dP * P) over the keys, is sum(dO * O).
      const inner = headsFirst(reduceSum(mul(dMixed, reshape(context, grouped)), [-1]));
      const given = { mixed: headsFirst(dMixed), inner };
      const only = groups.length === 1 && groups[0]?.pieces.length === 1;
      return inputGradients(inputs, groups, given, only ? weights : undefined);
    },
  });
}

/** `[batch, sequence, keyValueHeads, group, x]` -> `[batch, keyValueHeads, group, sequence, x]` */
function headsFirst(x: Tensor): Tensor {
  return transpose(x, [0, 2, 3, 1, 4]);
}
