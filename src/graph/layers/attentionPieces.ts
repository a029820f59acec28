/** The pieces that attention is computed in, forward and backward. */
import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add, mul, scale, sub } from '../ops/elementwise';
import { concat, pad, slice, transposeLast } from '../ops/layout';
import { matmul } from '../ops/matmul';
import { softmax } from '../ops/reduce';
import { dimension } from '../shape';
import type { AttentionGroup, QueryPiece, Range } from './attentionCut';

/**
 * What is added to a piece's scores, `[sequences, 1, 1, queries, keys]`: 0 where a query may look and
 * else a large negative number.
 */
export type MaskOf = (group: AttentionGroup, piece: QueryPiece) => Tensor;

export interface AttentionInputs {
  /** `[batch, keyValueHeads, group, sequence, headDim]`, scaled */
  q: Tensor;
  /** `[batch, keyValueHeads, total, headDim]`, as `v` */
  k: Tensor;
  v: Tensor;
  maskOf: MaskOf;
}

/** Gradients of the result and sums over its rows of gradient times result. */
export interface ResultGradient {
  /** `[batch, keyValueHeads, group, sequence, headDim]` */
  mixed: Tensor;
  /** `[batch, keyValueHeads, group, sequence, 1]` */
  inner: Tensor;
}

/** `[s, h, group, queries, x]` -> `[s, h, group * queries, x]` */
export function folded(x: Tensor): Tensor {
  const [s, h, group, queries, last] = x.shape as [number, number, number, number, number];
  return reshape(x, [s, h, group * queries, last]);
}

/** The group's sequences and heads, which are the first two axes. */
export function inGroup(x: Tensor, { sequences, keyHeads }: AttentionGroup): Tensor {
  const rest = x.shape.slice(2);
  return slice(
    x,
    [sequences[0], keyHeads[0], ...rest.map(() => 0)],
    [sequences[1], keyHeads[1], ...rest],
  );
}

/** Rows of matrices. */
export function rows(x: Tensor, [first, last]: Range): Tensor {
  const axis = x.shape.length - 2;
  return slice(
    x,
    x.shape.map((_, i) => (i === axis ? first : 0)),
    x.shape.map((size, i) => (i === axis ? last : size)),
  );
}

/** Results of all groups, by sequences and then heads, as one. */
export function joinedGroups(groups: readonly AttentionGroup[], parts: readonly Tensor[]): Tensor {
  const bySequences = new Map<number, Tensor[]>();
  groups.forEach(({ sequences: [first] }, i) => {
    bySequences.set(first, [...(bySequences.get(first) ?? []), parts[i] as Tensor]);
  });
  return joined(
    [...bySequences.values()].map((heads) => joined(heads, 1)),
    0,
  );
}

function joined(parts: readonly Tensor[], axis: number): Tensor {
  return parts.length === 1 ? (parts[0] as Tensor) : concat(parts, axis);
}

/**
 * @param after computed before this is
 * @returns `[s, h, group, queries, keys]`
 */
export function probabilities(
  { q, k, maskOf }: AttentionInputs,
  group: AttentionGroup,
  piece: QueryPiece,
  after: readonly Tensor[] = [],
): Tensor {
  const some = delayed(rows(inGroup(q, group), piece.queries), after);
  const scores = matmul(folded(some), transposeLast(rows(inGroup(k, group), piece.keys)));
  const [first, last] = piece.keys;
  const unfolded = reshape(scores, [...some.shape.slice(0, -1), last - first]);
  return softmax(add(unfolded, maskOf(group, piece)));
}

/**
 * The same values, but not before others are there. Without it the runtime would compute the
 * probabilities of all pieces before the gradients of the first, or take the forward pass's.
 */
function delayed(x: Tensor, after: readonly Tensor[]): Tensor {
  const [first, ...others] = after.map((tensor) => {
    const ones = tensor.shape.map(() => 1);
    const zeros = tensor.shape.map(() => 0);
    return reshape(slice(tensor, zeros, ones), [1]);
  });
  return first ? add(x, scale(others.reduce(add, first), 0)) : x;
}

/**
 * Gradients of `q`, `k` and `v`, one piece after the other.
 * @param weights the probabilities, where there is one piece and they are known
 */
export function inputGradients(
  inputs: AttentionInputs,
  groups: readonly AttentionGroup[],
  result: ResultGradient,
  weights?: Tensor,
): Tensor[] {
  let done: Tensor[] = [result.mixed];
  const parts = groups.map((group) => {
    const ofQueries: Tensor[] = [];
    const keys = new KeySums();
    const values = new KeySums();
    // From the last, which sees all keys that an earlier one sees.
    for (const piece of group.pieces.toReversed()) {
      const p = weights ?? probabilities(inputs, group, piece, done);
      const dMixed = rows(inGroup(result.mixed, group), piece.queries);
      const seen = rows(inGroup(inputs.v, group), piece.keys);
      const dWeights = reshape(matmul(folded(dMixed), transposeLast(seen)), p.shape);
      const inner = rows(inGroup(result.inner, group), piece.queries);
      const dScores = folded(mul(p, sub(dWeights, inner)));
      const some = rows(inGroup(inputs.q, group), piece.queries);
      const looked = rows(inGroup(inputs.k, group), piece.keys);
      const dq = reshape(matmul(dScores, looked), some.shape);
      // The CPU provider's products read their operands transposed.
      const dk = matmul(transposeLast(dScores), folded(some));
      const dv = matmul(transposeLast(folded(p)), folded(dMixed));
      ofQueries.unshift(dq);
      keys.add(dk, piece.keys);
      values.add(dv, piece.keys);
      done = [dq, dk, dv];
    }
    return { q: joined(ofQueries, 3), k: keys.total(), v: values.total() };
  });
  const whole = (name: 'q' | 'k' | 'v'): Tensor =>
    joinedGroups(
      groups,
      parts.map((part) => part[name]),
    );
  return [whole('q'), whole('k'), whole('v')];
}

/** Sums rows of pieces, each of which ends where the one before it does or earlier. */
class KeySums {
  #sum: Tensor | undefined;
  /** What no later piece adds to, from the last. */
  readonly #finished: Tensor[] = [];

  /** @param part `[s, h, keys, headDim]` */
  add(part: Tensor, [first, last]: Range): void {
    const before = part.shape.map((_, axis) => (axis === 2 ? first : 0));
    const own = pad(part, before, [0, 0, 0, 0]);
    const sum = this.#sum;
    if (!sum) {
      this.#sum = own;
      return;
    }
    const end = dimension(sum.shape, 2);
    if (last < end) this.#finished.unshift(rows(sum, [last, end]));
    this.#sum = add(rows(sum, [0, last]), own);
  }

  total(): Tensor {
    return joined([this.#sum as Tensor, ...this.#finished], 2);
  }
}
