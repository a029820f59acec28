/** Final norm, language-model head and loss, over a chunk of rows; and the embedding. */
import type { DecoderConfig } from '../../models/modelConfig';
import { gradients } from '../gradients';
import { type BuiltGraph, Graph } from '../graph';
import { crossEntropy } from '../layers/crossEntropy';
import { rmsNorm } from '../layers/rmsNorm';
import { type Storage, storedWeight } from '../layers/storedWeight';
import type { FloatType } from '../dtype';
import type { Tensor } from '../graph';
import type { BlockTensorShape } from './block';
import {
  accumulateGradient,
  declareFrozen,
  declareTrainable,
  frozenInput,
  type FrozenTensorShape,
} from './blockGraphs';
import { expand, reduceSum, reshape } from '../ops/broadcast';
import { add } from '../ops/elementwise';
import { gatherRows, scatterAddRows } from '../ops/indexing';
import { concat, slice } from '../ops/layout';
import { gemm } from '../ops/matmul';

/**
 * `logits`: rows to logits; `loss`: rows to losses; `gradient`: also the gradients; with `first` the
 * gradient of the hidden states starts from zero, else it is added to.
 */
export type HeadMode = 'logits' | 'loss' | 'gradient' | 'first gradient';

export interface HeadShape {
  /** Rows of `hidden`. */
  tokens: number;
  /** Rows that the head is applied to. */
  rows: number;
  dtype: FloatType;
}

/** The head's own tensors, in the order of the flat vector when they train. */
export function headTensors(config: DecoderConfig): BlockTensorShape[] {
  return [
    { name: 'projection', shape: [config.vocabSize, config.hiddenSize] },
    { name: 'norm', shape: [config.hiddenSize] },
  ];
}

/**
 * Inputs `hidden [tokens, hidden]` and `rows` int32 `[rows]`, the rows to take; `labels` int32
 * `[rows, 1]`, `weights [rows, 1]`, `scale [1, 1]`, `loss_sum [1]`, and for `gradient`
 * `hidden_gradient [tokens, hidden]`.
 * Outputs `logits [rows, vocab]`, or `next_loss_sum [1]` (nats, unscaled), and with gradients
 * `next_hidden_gradient` and `next_gradient` of `scale * sum(losses)`.
 * @param frozen the head's tensors as they are stored; undefined where they train
 */
export function buildHead(
  config: DecoderConfig,
  { tokens, rows, dtype }: HeadShape,
  mode: HeadMode,
  frozen: readonly FrozenTensorShape[] | undefined,
): BuiltGraph {
  const graph = new Graph();
  const shape = [tokens, config.hiddenSize];
  const index = graph.input('rows', 'int32', [rows]);
  const hidden = gatherRows(graph.input('hidden', dtype, shape), index);
  // Gradients end at the rows that were taken; they are added to their places below.
  const taken = graph.withOrigin(hidden);
  const tensors = headTensors(config);
  const trainable = frozen ? [] : declareTrainable(graph, tensors, dtype);
  const [projection, norm] = (
    frozen ? frozen.map((tensor) => declareFrozen(graph, tensor, dtype)) : trainable
  ) as [Tensor, Tensor];

  const normed = rmsNorm(taken, norm, config.rmsNormEps);
  const logits = gemm(normed, projection, { transposeB: true });
  if (mode === 'logits') {
    graph.output('logits', logits);
    return graph.build();
  }
  const labels = graph.input('labels', 'int32', [rows, 1]);
  const weights = graph.input('weights', dtype, [rows, 1]);
  const losses = crossEntropy(logits, labels, weights);
  const sum = reshape(reduceSum(losses, [0, 1]), [1]);
  graph.output('next_loss_sum', add(graph.input('loss_sum', dtype, [1]), sum));
  if (mode === 'loss') return graph.build();
  const scale = expand(graph.input('scale', dtype, [1, 1]), losses.shape);
  const parts = gradients([{ output: losses, gradient: scale }], [...trainable, taken]);
  accumulateGradient(graph, parts.slice(0, trainable.length), tensors);
  const before =
    mode === 'first gradient'
      ? graph.zeros(dtype, shape)
      : graph.input('hidden_gradient', dtype, shape);
  graph.output('next_hidden_gradient', scatterAddRows(before, index, parts.at(-1) as Tensor));
  return graph.build();
}

/** `ids` int32 `[tokens]` -> `hidden [tokens, hidden]`, from a frozen or a trained table. */
export function buildEmbedding(
  config: DecoderConfig,
  tokens: number,
  source: { storage: Storage } | { groupSize: number },
): BuiltGraph {
  const graph = new Graph();
  const ids = graph.input('ids', 'int32', [tokens]);
  const shape = [config.vocabSize, config.hiddenSize];
  if ('storage' in source) {
    const select = (part: Tensor): Tensor => gatherRows(part, ids);
    const hidden = storedWeight(graph, frozenInput('table'), shape, source.storage, select);
    graph.output('hidden', hidden);
  } else {
    const table = tableOf(graph.input('parameters', 'float32', [source.groupSize]), shape);
    graph.output('hidden', gatherRows(table, ids));
  }
  return graph.build();
}

/** Adds `output_gradient [tokens, hidden]` to the table's rows in the flat `gradient`. */
export function buildEmbeddingBackward(
  config: DecoderConfig,
  tokens: number,
  groupSize: number,
): BuiltGraph {
  const graph = new Graph();
  const { vocabSize, hiddenSize } = config;
  const ids = graph.input('ids', 'int32', [tokens]);
  const update = graph.input('output_gradient', 'float32', [tokens, hiddenSize]);
  const flat = graph.input('gradient', 'float32', [groupSize]);
  const size = vocabSize * hiddenSize;
  const table = tableOf(flat, [vocabSize, hiddenSize]);
  const next = reshape(scatterAddRows(table, ids, update), [size]);
  const rest = groupSize > size ? [slice(flat, [size], [groupSize])] : [];
  graph.output('next_gradient', rest.length > 0 ? concat([next, ...rest], 0) : next);
  return graph.build();
}

/** The table is the first tensor of its group. */
function tableOf(flat: Tensor, shape: readonly number[]): Tensor {
  const [rows, width] = shape as [number, number];
  return reshape(slice(flat, [0], [rows * width]), shape);
}
