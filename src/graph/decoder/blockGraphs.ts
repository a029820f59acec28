/**
 * The two graphs that all decoder blocks of equal shapes share. Weights are inputs, so the graphs
 * are compiled once per batch shape whatever the depth.
 */
import type { DecoderConfig } from '../../models/modelConfig';
import { gradients } from '../gradients';
import { type BuiltGraph, Graph } from '../graph';
import { type Shape, sizeOf } from '../shape';
import type { FloatType } from '../dtype';
import type { Tensor } from '../graph';
import {
  attentionSize,
  type BlockTensorShape,
  decoderBlock,
  type LinearPath,
  linearPaths,
} from './block';
import { add } from '../ops/elementwise';
import { type AttentionCut, type MaskPiece, maskPieces } from '../layers/attentionCut';
import { type Storage, storedWeight } from '../layers/storedWeight';
import { flatten, unflatten } from '../ops/layout';

/** A tensor that doesn't train, and how it is stored: fp32 unless said otherwise. */
export interface FrozenTensorShape extends BlockTensorShape {
  storage?: Storage;
}

/** What distinguishes one kind of block from another; blocks of one kind share their sessions. */
export interface BlockPlan {
  config: DecoderConfig;
  /** In the order in which they lie in the block's flat parameter vector. */
  trainable: readonly BlockTensorShape[];
  frozen: readonly FrozenTensorShape[];
  /**
   * Applies a linear layer with its bias and adapter.
   * @param tensor looks up a trainable or frozen tensor by its name
   */
  linear: (path: LinearPath, x: Tensor, tensor: (name: string) => Tensor) => Tensor;
}

export interface BlockShape {
  batch: number;
  sequence: number;
  dtype: FloatType;
  /** How attention is cut. */
  cut: AttentionCut;
}

/** Names of inputs and outputs. */
export const frozenInput = (name: string): string => `frozen.${name}`;
/** Weight and adapter's change of a linear layer, where the sum is formed before the graph runs. */
export const summedInput = (path: LinearPath): string => `summed.${path}`;
export const savedValue = (name: string): string => `saved.${name}`;
export const maskInput = (index: number): string => `mask.${index}`;

const isWeight = (input: string): boolean =>
  input === 'parameters' || input.startsWith(frozenInput(''));

/** What is widened while the block runs. */
const isMatrix = (input: string): boolean => matrixInputs.has(input);
const matrixInputs: ReadonlySet<string> = new Set(
  linearPaths.flatMap((path) => [frozenInput(`${path}.weight`), summedInput(path)]),
);

interface AssembledBlock {
  graph: Graph;
  hidden: Tensor;
  trainable: Tensor[];
  output: Tensor;
}

function assemble(
  plan: BlockPlan,
  { batch, sequence, dtype, cut }: BlockShape,
  saved: (graph: Graph, name: string, value: Tensor) => Tensor,
): AssembledBlock {
  const { config } = plan;
  const graph = new Graph();
  const tokens = batch * sequence;
  const rotaryShape = [tokens, 1, config.headDim / 2];
  const hidden = graph.input('hidden', dtype, [tokens, config.hiddenSize]);
  const cos = graph.input('cos', dtype, rotaryShape);
  const sin = graph.input('sin', dtype, rotaryShape);
  const size = attentionSize(config, { batch, sequence });
  const masks = maskPieces(size, cut, config.slidingWindow).map((piece, i) =>
    graph.input(maskInput(i), dtype, maskShape(piece)),
  );

  const tensors = new Map<string, Tensor>();
  for (const tensor of plan.frozen) {
    tensors.set(tensor.name, declareFrozen(graph, tensor, dtype));
  }
  const trainable = declareTrainable(graph, plan.trainable, dtype);
  plan.trainable.forEach(({ name }, i) => tensors.set(name, trainable[i] as Tensor));
  const tensor = (name: string): Tensor => {
    const found = tensors.get(name);
    if (!found) throw new Error(`block has no tensor "${name}"`);
    return found;
  };

  const output = decoderBlock(
    config,
    {
      batch,
      sequence,
      hidden,
      cos,
      sin,
      masks: (_, { mask }) => masks[mask] as Tensor,
      cut,
    },
    {
      norm: (path) => tensor(`${path}.weight`),
      linear: (path, x) => plan.linear(path, x, tensor),
      saved: (name, value) => saved(graph, name, value),
    },
  );
  return { graph, hidden, trainable, output };
}

export function maskShape({ sequences, queries, keys }: MaskPiece): Shape {
  const [batch, rows, columns] = [sequences, queries, keys].map(([first, last]) => last - first);
  return [batch as number, 1, 1, rows as number, columns as number];
}

/** Declares the inputs of a frozen tensor; stored forms are widened to fp32. */
export function declareFrozen(
  graph: Graph,
  { name, shape, storage }: FrozenTensorShape,
  dtype: FloatType,
): Tensor {
  const input = frozenInput(name);
  return storage ? storedWeight(graph, input, shape, storage) : graph.input(input, dtype, shape);
}

/** Declares the flat input `parameters` and cuts it into tensors; nothing when there are none. */
export function declareTrainable(
  graph: Graph,
  tensors: readonly BlockTensorShape[],
  dtype: FloatType,
): Tensor[] {
  const size = flatSize(tensors);
  if (size === 0) return [];
  return unflatten(
    graph.input('parameters', dtype, [size]),
    tensors.map(({ shape }) => shape),
  );
}

export function flatSize(tensors: readonly BlockTensorShape[]): number {
  return tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** Adds gradients to the flat input `gradient` and returns the sum as output `next_gradient`. */
export function accumulateGradient(
  graph: Graph,
  parts: readonly Tensor[],
  tensors: readonly BlockTensorShape[],
): void {
  if (parts.length === 0) return;
  const flat = flatten(parts);
  const accumulated = graph.input('gradient', flat.dtype, [flatSize(tensors)]);
  graph.output('next_gradient', add(accumulated, flat));
}

/**
 * @param matrixBytes the most that the block's matrices may take in fp32 while one stage runs; all of
 *   the graph is one stage where there is no limit
 */
function built(graph: Graph, matrixBytes: number | undefined): BuiltGraph[] {
  if (matrixBytes === undefined) return [graph.build(isWeight)];
  return graph.buildStages({
    isLarge: isMatrix,
    isWeight,
    // A gradient is projected to the cores when it is there: later it would stand beside the next.
    isOrdered: (input) => input === 'output_gradient',
    maxBytes: matrixBytes,
  });
}

/**
 * `hidden` -> `output`, plus `saved.*` when a backward pass with saved values follows.
 */
export function buildBlockForward(
  plan: BlockPlan,
  shape: BlockShape,
  options: { save: boolean; matrixBytes?: number | undefined },
): BuiltGraph[] {
  const { graph, output } = assemble(plan, shape, (owner, name, value) => {
    if (options.save) owner.output(savedValue(name), value);
    return value;
  });
  graph.output('output', output);
  return built(graph, options.matrixBytes);
}

/**
 * `output_gradient` -> `input_gradient` (where asked) and `gradient` -> `next_gradient`.
 * With saved values the products that made them are dropped as dead; with `recompute` the whole
 * forward is part of the graph. (Two graphs and not one: inside one graph the runtime's common
 * subexpression elimination would undo the recomputation.)
 */
export function buildBlockBackward(
  plan: BlockPlan,
  shape: BlockShape,
  options: { recompute: boolean; inputGradient: boolean; matrixBytes?: number | undefined },
): BuiltGraph[] {
  const { graph, hidden, trainable, output } = assemble(plan, shape, (owner, name, value) => {
    if (options.recompute) return value;
    const handedOver = owner.input(savedValue(name), value.dtype, value.shape);
    return owner.withOrigin(handedOver, { inputs: [value], vjp: (gradient) => [gradient] });
  });
  const outputGradient = graph.input('output_gradient', output.dtype, output.shape);
  const targets = options.inputGradient ? [...trainable, hidden] : trainable;
  const parts = gradients([{ output, gradient: outputGradient }], targets);
  accumulateGradient(graph, parts.slice(0, trainable.length), plan.trainable);
  if (options.inputGradient) graph.output('input_gradient', parts.at(-1) as Tensor);
  return built(graph, options.matrixBytes);
}
