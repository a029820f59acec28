/** What all blocks need to know about a batch, computed on the device from its token positions. */
import { type BuiltGraph, Graph, type Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { choose, compare, logicalAnd } from '../ops/elementwise';
import { lookUp } from '../ops/indexing';

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
}

/**
 * Inputs `position_ids` int32 `[batch * sequence]`, `segment_ids` int32 `[batch, sequence]`, and the
 * rotary tables `cos_table`, `sin_table [positions, headDim / 2]` (computed in fp64 on the host: an
 * angle of 10^5 radians has no digits to spare in fp32).
 * Outputs `cos`, `sin [batch * sequence, 1, headDim / 2]` and `mask [batch, 1, 1, sequence,
 * sequence]`: causal, within equal segments, at most `window` tokens back.
 */
export function buildContext(shape: ContextShape): BuiltGraph {
  const { batch, sequence, headDim, positions, window } = shape;
  const graph = new Graph();
  const tokens = batch * sequence;
  const half = headDim / 2;
  const ids = graph.input('position_ids', 'int32', [tokens]);
  for (const name of ['cos', 'sin']) {
    const table = graph.input(`${name}_table`, 'float32', [positions, half]);
    graph.output(name, reshape(lookUp(table, ids), [tokens, 1, half]));
  }
  const segments = graph.input('segment_ids', 'int32', [batch, sequence]);
  const sameSegment = compare(
    'Equal',
    reshape(segments, [batch, sequence, 1]),
    reshape(segments, [batch, 1, sequence]),
  );
  const row = Array.from({ length: sequence }, (_, i) => i);
  const queries = graph.int32s(row, [1, sequence, 1]);
  const keys = graph.int32s(row, [1, 1, sequence]);
  let seen: Tensor = logicalAnd(sameSegment, compare('LessOrEqual', keys, queries));
  if (window !== undefined && window < sequence) {
    const first = graph.int32s(
      row.map((query) => query - window),
      [1, sequence, 1],
    );
    seen = logicalAnd(seen, compare('Less', first, keys));
  }
  graph.output('mask', reshape(choose(seen, 0, BLOCKED), [batch, 1, 1, sequence, sequence]));
  return graph.build();
}
