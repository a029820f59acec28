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
import { expand, reduceSum } from '../ops/broadcast';
import { add, div, exp, log, mul, sub } from '../ops/elementwise';
import { gemm } from '../ops/matmul';
import { reduceMax } from '../ops/reduce';
import { frozenInput } from './blockGraphs';

export interface StreamedShape {
  rows: number;
  /** Vocabulary entries of the part. */
  columns: number;
  dtype: FloatType;
}

/** Where the running maximum starts: below any logit, and finite, so that no difference is NaN. */
export const START_MAXIMUM = -1e30;

/**
 * Inputs `hidden [rows, hidden]`, `part [columns, hidden]`, `largest` and `total [rows, 1]` and, with
 * `gradient`, `mixed [rows, hidden]`; outputs `next_` of the same three.
 */
export function buildStreamedPart(
  config: DecoderConfig,
  { rows, columns, dtype }: StreamedShape,
  gradient: boolean,
): BuiltGraph {
  const { hiddenSize } = config;
  const graph = new Graph();
  const { normed } = normedRows(graph, config, rows, dtype);
  const part = graph.input('part', dtype, [columns, hiddenSize]);
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
 * unscaled) and, with `gradient`, `input_gradient [rows, hidden]` of `scale * sum(losses)`.
 */
export function buildStreamedEnd(
  config: DecoderConfig,
  { rows, dtype }: Omit<StreamedShape, 'columns'>,
  gradient: boolean,
): BuiltGraph {
  const graph = new Graph();
  const { hidden, normed } = normedRows(graph, config, rows, dtype);
  const target = graph.input('target', dtype, [rows, config.hiddenSize]);
  const weights = graph.input('weights', dtype, [rows, 1]);
  const largest = graph.input('largest', dtype, [rows, 1]);
  const total = graph.input('total', dtype, [rows, 1]);
  const targetLogit = reduceSum(mul(normed, target), [-1]);
  graph.output('losses', mul(sub(add(log(total), largest), targetLogit), weights));
  if (gradient) {
    const mixed = graph.input('mixed', dtype, [rows, config.hiddenSize]);
    const scale = expand(graph.input('scale', dtype, [1, 1]), [rows, 1]);
    // d(loss)/d(normed) = softmax-weighted mean of the projection's rows minus the label's row.
    const towardsNormed = mul(sub(div(mixed, total), target), mul(weights, scale));
    const [towardsHidden] = gradients([{ output: normed, gradient: towardsNormed }], [hidden]);
    graph.output('input_gradient', towardsHidden as Tensor);
  }
  return graph.build();
}

function normedRows(
  graph: Graph,
  { hiddenSize, rmsNormEps }: DecoderConfig,
  rows: number,
  dtype: FloatType,
): { hidden: Tensor; normed: Tensor } {
  const hidden = graph.input('hidden', dtype, [rows, hiddenSize]);
  const norm = graph.input(frozenInput('norm'), dtype, [hiddenSize]);
  return { hidden, normed: rmsNorm(hidden, norm, rmsNormEps) };
}
