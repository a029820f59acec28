/** What all blocks need to know about a batch, computed on the device from its token positions. */
import { type BuiltGraph, Graph, type Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { cast, choose, compare, logicalAnd } from '../ops/elementwise';
import { lookUp } from '../ops/indexing';
import { slice } from '../ops/layout';
import type { MaskPiece, Range } from '../layers/attentionCut';
import { maskInput } from './blockGraphs';

/**
 * Added to scores that must not count. exp() of it is exactly 0 in fp32, and a row of a padded
 * position still sees itself, so no softmax is ever 0 / 0.
 */
export const BLOCKED = -1e9;

export interface ContextShape {
  batch: number;
  sequence: number;
  headDim: number;
  /** Rows of the rotary tables. */
  positions: number;
  /** Attention window in tokens, the query itself included. */
  window: number | undefined;
  /** The masks that are wanted. */
  masks: readonly MaskPiece[];
}

/**
 * Inputs `position_ids` int32 `[batch * sequence]`, `segment_ids` int32 `[batch, sequence]`, and the
 * rotary tables `cos_table`, `sin_table [positions, headDim / 2]` (computed in fp64 on the host: an
 * angle of 10^5 radians has no digits to spare in fp32).
 * Outputs `cos`, `sin [batch * sequence, 1, headDim / 2]` and `mask.* [sequences, 1, 1, queries, keys]`:
 * causal, within equal segments, at most `window` tokens back.
 */
export function buildContext(shape: ContextShape): BuiltGraph {
  const { batch, sequence, headDim, positions, window, masks } = shape;
  const graph = new Graph();
  const tokens = batch * sequence;
  const half = headDim / 2;
  const ids = graph.input('position_ids', 'int32', [tokens]);
  for (const name of ['cos', 'sin']) {
    const table = graph.input(`${name}_table`, 'float32', [positions, half]);
    graph.output(name, reshape(lookUp(table, ids), [tokens, 1, half]));
  }
  // A GPU slices and compares numbers of this type; segments are few enough to be exact in it.
  const segments = cast(graph.input('segment_ids', 'int32', [batch, sequence]), 'float32');
  masks.forEach((piece, i) => {
    graph.output(maskInput(i), choose(seen(segments, piece, window), 0, BLOCKED));
  });
  return graph.build();
}

/** Which keys the queries of a piece see, `[sequences, 1, 1, queries, keys]`. */
function seen(
  segments: Tensor,
  { sequences, queries, keys }: MaskPiece,
  window = Infinity,
): Tensor {
  const { graph } = segments;
  const count = sequences[1] - sequences[0];
  const numbers = ([first, last]: Range): number[] =>
    Array.from({ length: last - first }, (_, i) => first + i);
  const segmentsOf = ([first, last]: Range): Tensor =>
    slice(segments, [sequences[0], first], [sequences[1], last]);
  const [queryPlaces, keyPlaces] = [numbers(queries), numbers(keys)];
  const column = [count, 1, 1, queryPlaces.length, 1];
  const row = [count, 1, 1, 1, keyPlaces.length];
  const sameSegment = compare(
    'Equal',
    reshape(segmentsOf(queries), column),
    reshape(segmentsOf(keys), row),
  );
  const rows = (values: readonly number[]): Tensor =>
    graph.int32s(values, [1, 1, 1, values.length, 1]);
  const columns = graph.int32s(keyPlaces, [1, 1, 1, 1, keyPlaces.length]);
  const causal = logicalAnd(sameSegment, compare('LessOrEqual', columns, rows(queryPlaces)));
  if (queries[1] - window <= keys[0]) return causal;
  return logicalAnd(causal, compare('Less', rows(queryPlaces.map((q) => q - window)), columns));
}
