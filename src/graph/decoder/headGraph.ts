/** Final norm, language-model head and loss, over a chunk of rows. */
import type { DecoderConfig } from '../../models/modelConfig';
import { gradients } from '../gradients';
import { type BuiltGraph, Graph } from '../graph';
import { crossEntropy } from '../layers/crossEntropy';
import { rmsNorm } from '../layers/rmsNorm';
import type { FloatType } from '../dtype';
import type { Tensor } from '../graph';
import type { BlockTensorShape } from './block';
import { accumulateGradient, declareTrainable, frozenInput } from './blockGraphs';
import { expand } from '../ops/broadcast';
import { gemm } from '../ops/matmul';

/** `logits`: rows to logits; `loss`: rows to losses; `gradient`: also the gradients. */
export type HeadMode = 'logits' | 'loss' | 'gradient';

export interface HeadShape {
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
 * Inputs `hidden [rows, hidden]`, `labels` int32 `[rows, 1]`, `weights [rows, 1]`, `scale [1, 1]`.
 * Outputs `logits [rows, vocab]`, or `losses [rows, 1]` (nats, unscaled), and in mode `gradient`
 * `input_gradient` and `next_gradient` of `scale * sum(losses)`.
 */
export function buildHead(
  config: DecoderConfig,
  { rows, dtype }: HeadShape,
  mode: HeadMode,
  trains: boolean,
): BuiltGraph {
  const graph = new Graph();
  const hidden = graph.input('hidden', dtype, [rows, config.hiddenSize]);
  const tensors = headTensors(config);
  const trainable = trains ? declareTrainable(graph, tensors, dtype) : [];
  const [projection, norm] = (
    trains
      ? trainable
      : tensors.map(({ name, shape }) => graph.input(frozenInput(name), dtype, shape))
  ) as [Tensor, Tensor];

  const normed = rmsNorm(hidden, norm, config.rmsNormEps);
  const logits = gemm(normed, projection, { transposeB: true });
  if (mode === 'logits') {
    graph.output('logits', logits);
    return graph.build();
  }
  const labels = graph.input('labels', 'int32', [rows, 1]);
  const weights = graph.input('weights', dtype, [rows, 1]);
  const losses = crossEntropy(logits, labels, weights);
  graph.output('losses', losses);
  if (mode === 'gradient') {
    const scale = expand(graph.input('scale', dtype, [1, 1]), losses.shape);
    const parts = gradients([{ output: losses, gradient: scale }], [...trainable, hidden]);
    accumulateGradient(graph, parts.slice(0, trainable.length), tensors);
    graph.output('input_gradient', parts.at(-1) as Tensor);
  }
  return graph.build();
}
