/**
 * The head over a part of the vocabulary at a time, for projections that would not fit as fp32. One
 * pass gives losses and gradients, by the rescaled running sums of flash attention (Dao et al.,
 * arXiv 2205.14135) with the projection's rows as keys and values: with `m` the largest logit so far,
 * `total = sum exp(logit - m)` and `mixed = sum exp(logit - m) * row`, both are multiplied by
 * `exp(m_old - m_new)` when the maximum grows.
 */
import type { DecoderConfig } from '../../models/modelConfig';
import type { FloatType } from '../dtype';
import { gradients } from '../gradients';
import { type BuiltGraph, Graph, type Tensor } from '../graph';
import { rmsNorm } from '../layers/rmsNorm';
import { type Storage, storedWeight } from '../layers/storedWeight';
import { expand, reduceSum, reshape } from '../ops/broadcast';
import { add, div, exp, log, mul, sub } from '../ops/elementwise';
import { gatherRows, scatterAddRows } from '../ops/indexing';
import { gemm } from '../ops/matmul';
import { reduceMax } from '../ops/reduce';
import { declareFrozen } from './blockGraphs';

export interface StreamedShape {
  rows: number;
  /** Vocabulary entries of the part. */
  columns: number;
  dtype: FloatType;
}

/** Where the running maximum starts: below any logit, and finite, so that no difference is NaN. */
export const START_MAXIMUM = -1e30;

/** How frozen tensors are stored, where not in fp32 (or whatever the graph computes in). */
export interface StreamedStorage {
  part?: Storage | undefined;
  norm?: Storage | undefined;
}

/**
 * Inputs `hidden [rows, hidden]`, `part [columns, hidden]`, `largest` and `total [rows, 1]` and, with
 * `gradient`, `mixed [rows, hidden]`; outputs `next_` of the same three.
 * @param first no running values come in: these are the first part's
 */
export function buildStreamedPart(
  config: DecoderConfig,
  { rows, columns, dtype }: StreamedShape,
  gradient: boolean,
  { storage = {}, first = false }: { storage?: StreamedStorage; first?: boolean } = {},
): BuiltGraph {
  const { hiddenSize } = config;
  const graph = new Graph();
  const { normed } = normedRows(graph, config, rows, dtype, storage);
  const partShape = [columns, hiddenSize];
  const part = storage.part
    ? storedWeight(graph, 'part', partShape, storage.part)
    : graph.input('part', dtype, partShape);
  if (first) {
    const logits = gemm(normed, part, { transposeB: true });
    const largest = reduceMax(logits, [-1]);
    const exponentials = exp(sub(logits, largest));
    graph.output('next_largest', largest);
    graph.output('next_total', reduceSum(exponentials, [-1]));
    if (gradient) graph.output('next_mixed', gemm(exponentials, part));
    return graph.build();
  }
  const largest = graph.input('largest', dtype, [rows, 1]);
  const total = graph.input('total', dtype, [rows, 1]);

  const logits = gemm(normed, part, { transposeB: true });
  const next = graph.node('Max', [largest, reduceMax(logits, [-1])], [rows, 1]);
  const kept = exp(sub(largest, next));
  const exponentials = exp(sub(logits, next));
  graph.output('next_largest', next);
  graph.output('next_total', add(mul(total, kept), reduceSum(exponentials, [-1])));
  if (gradient) {
    const mixed = graph.input('mixed', dtype, [rows, hiddenSize]);
    graph.output('next_mixed', add(mul(mixed, kept), gemm(exponentials, part)));
  }
  return graph.build();
}

/**
 * Inputs `hidden`, `target [rows, hidden]` (the projection's row of each label), `weights [rows, 1]`,
 * `scale [1, 1]` and the running values after the last part. Outputs `losses [rows, 1]` (nats,
 * unscaled) and, with `gradient`, `input_gradient [rows, hidden]` of `scale * sum(losses)`. With `into`
 * they are added up instead, on the device: `loss_sum [1]` to `next_loss_sum`, and to the places `rows`
 * of `hidden_gradient [tokens, hidden]` (zeros with `first`) for `next_hidden_gradient`.
 */
export function buildStreamedEnd(
  config: DecoderConfig,
  { rows, dtype }: Omit<StreamedShape, 'columns'>,
  gradient: boolean,
  {
    storage = {},
    into,
  }: { storage?: StreamedStorage; into?: { tokens: number; first: boolean } } = {},
): BuiltGraph {
  const graph = new Graph();
  const { hidden, normed } = normedRows(graph, config, rows, dtype, storage);
  const target = graph.input('target', dtype, [rows, config.hiddenSize]);
  const weights = graph.input('weights', dtype, [rows, 1]);
  const largest = graph.input('largest', dtype, [rows, 1]);
  const total = graph.input('total', dtype, [rows, 1]);
  const targetLogit = reduceSum(mul(normed, target), [-1]);
  const losses = mul(sub(add(log(total), largest), targetLogit), weights);
  if (into) {
    const sum = reshape(reduceSum(losses, [0, 1]), [1]);
    graph.output('next_loss_sum', add(graph.input('loss_sum', dtype, [1]), sum));
  } else graph.output('losses', losses);
  if (gradient) {
    const mixed = graph.input('mixed', dtype, [rows, config.hiddenSize]);
    const scale = expand(graph.input('scale', dtype, [1, 1]), [rows, 1]);
    // d(loss)/d(normed) = softmax-weighted mean of the projection's rows minus the label's row.
    const towardsNormed = mul(sub(div(mixed, total), target), mul(weights, scale));
    const [towardsHidden] = gradients([{ output: normed, gradient: towardsNormed }], [hidden]);
    if (into) {
      const shape = [into.tokens, config.hiddenSize];
      const before = into.first
        ? graph.zeros(dtype, shape)
        : graph.input('hidden_gradient', dtype, shape);
      const places = graph.input('rows', 'int32', [rows]);
      const added = scatterAddRows(before, places, towardsHidden as Tensor);
      graph.output('next_hidden_gradient', added);
    } else graph.output('input_gradient', towardsHidden as Tensor);
  }
  return graph.build();
}

function normedRows(
  graph: Graph,
  { hiddenSize, rmsNormEps }: DecoderConfig,
  rows: number,
  dtype: FloatType,
  { norm: normStorage }: StreamedStorage,
): { hidden: Tensor; normed: Tensor } {
  const hidden = graph.input('hidden', dtype, [rows, hiddenSize]);
  const tensor = { name: 'norm', shape: [hiddenSize] };
  const norm = declareFrozen(
    graph,
    normStorage ? { ...tensor, storage: normStorage } : tensor,
    dtype,
  );
  return { hidden, normed: rmsNorm(hidden, norm, rmsNormEps) };
}

/** Inputs `hidden [tokens, hidden]` and `rows` int32 `[rows]`; output `taken [rows, hidden]`. */
export function buildTakeRows(config: DecoderConfig, tokens: number, rows: number): BuiltGraph {
  const graph = new Graph();
  const hidden = graph.input('hidden', 'float32', [tokens, config.hiddenSize]);
  graph.output('taken', gatherRows(hidden, graph.input('rows', 'int32', [rows])));
  return graph.build();
}

/**
 * Rows of a table of which only a part is at hand. Inputs `ids` int32 `[count]`, places in the part (any
 * where the row lies in another), `inside [count, 1]`, 1 or 0, the part, and `sum [count, hidden]`, what
 * earlier parts gave (none with `first`). Output `next_sum`.
 */
export function buildPartLookup(
  config: DecoderConfig,
  { count, columns }: { count: number; columns: number },
  storage: Storage,
  first: boolean,
): BuiltGraph {
  const graph = new Graph();
  const ids = graph.input('ids', 'int32', [count]);
  const inside = graph.input('inside', 'float32', [count, 1]);
  const select = (part: Tensor): Tensor => gatherRows(part, ids);
  const rows = storedWeight(graph, 'part', [columns, config.hiddenSize], storage, select);
  const own = mul(rows, inside);
  const sum = first ? own : add(graph.input('sum', 'float32', own.shape), own);
  graph.output('next_sum', sum);
  return graph.build();
}
