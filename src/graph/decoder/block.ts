/** One decoder block of the Llama family as a graph. */
import type { DecoderConfig } from '../../models/modelConfig';
import { attention, type PrependPast } from '../layers/attention';
import { type AttentionCut, type AttentionSize, isCut } from '../layers/attentionCut';
import type { MaskOf } from '../layers/attentionPieces';
import { rmsNorm } from '../layers/rmsNorm';
import { rope } from '../layers/rope';
import { swiglu } from '../layers/swiglu';
import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add } from '../ops/elementwise';
import { sizeOf } from '../shape';

/** The linear layers of a block, by their path inside it, in Hugging Face's names. */
export const linearPaths = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
] as const;
export type LinearPath = (typeof linearPaths)[number];

export interface BlockTensorShape {
  /** Path inside the block, e.g. `self_attn.q_proj.weight`. */
  name: string;
  shape: readonly number[];
}

/** `[out, in]` of a block's linear layer. */
export function linearShape(config: DecoderConfig, path: LinearPath): readonly [number, number] {
  const { hiddenSize, intermediateSize, numHeads, numKeyValueHeads, headDim } = config;
  switch (path) {
    case 'self_attn.q_proj':
      return [numHeads * headDim, hiddenSize];
    case 'self_attn.k_proj':
    case 'self_attn.v_proj':
      return [numKeyValueHeads * headDim, hiddenSize];
    case 'self_attn.o_proj':
      return [hiddenSize, numHeads * headDim];
    case 'mlp.gate_proj':
    case 'mlp.up_proj':
      return [intermediateSize, hiddenSize];
    case 'mlp.down_proj':
      return [hiddenSize, intermediateSize];
  }
}

/** Of a block's matrices the largest, in fp32. */
export function largestMatrixBytes(config: DecoderConfig): number {
  return Math.max(...linearPaths.map((path) => 4 * sizeOf(linearShape(config, path))));
}

/** What a block's attention is cut by. */
export function attentionSize(
  { numHeads, numKeyValueHeads }: DecoderConfig,
  { batch, sequence }: { batch: number; sequence: number },
): AttentionSize {
  return { batch, sequence, heads: numHeads, keyValueHeads: numKeyValueHeads };
}

function hasBias(config: DecoderConfig, path: LinearPath): boolean {
  switch (path) {
    case 'self_attn.q_proj':
    case 'self_attn.k_proj':
    case 'self_attn.v_proj':
      return config.attentionBias.qkv;
    case 'self_attn.o_proj':
      return config.attentionBias.o;
    case 'mlp.gate_proj':
    case 'mlp.up_proj':
    case 'mlp.down_proj':
      return config.mlpBias;
  }
}

/** Every weight of a block: matrices first, then biases and norms, which have no weight decay. */
export function blockTensors(config: DecoderConfig): BlockTensorShape[] {
  const matrices = linearPaths.map((path) => ({
    name: `${path}.weight`,
    shape: linearShape(config, path),
  }));
  const biases = linearPaths
    .filter((path) => hasBias(config, path))
    .map((path) => ({ name: `${path}.bias`, shape: [linearShape(config, path)[0]] }));
  const norms = ['input_layernorm.weight', 'post_attention_layernorm.weight'].map((name) => ({
    name,
    shape: [config.hiddenSize],
  }));
  const headNorms = ['self_attn.q_norm.weight', 'self_attn.k_norm.weight'].map((name) => ({
    name,
    shape: [config.headDim],
  }));
  return [...matrices, ...biases, ...norms, ...(config.queryKeyNorm ? headNorms : [])];
}

export interface BlockInputs {
  batch: number;
  sequence: number;
  /** `[batch * sequence, hidden]` */
  hidden: Tensor;
  /** `[batch * sequence, 1, headDim / 2]` */
  cos: Tensor;
  sin: Tensor;
  masks: MaskOf;
  cut: AttentionCut;
}

export interface BlockParts {
  /** A norm's weight, by its path inside the block. */
  norm: (path: string) => Tensor;
  /** Applies a linear layer with its bias and adapter: `[tokens, in] -> [tokens, out]`. */
  linear: (path: LinearPath, x: Tensor) => Tensor;
  /**
   * Marks a value that the forward graph hands to the backward graph. The forward graph exports it;
   * the backward graph reads it instead of computing it again; with full recompute it is itself.
   */
  saved: (name: string, value: Tensor) => Tensor;
  /** With a cache of keys and values: see `cachedBlock.ts`. Absent in training. */
  prependPast?: PrependPast;
}

/** @returns the block's output, `[batch * sequence, hidden]` */
export function decoderBlock(
  config: DecoderConfig,
  inputs: BlockInputs,
  parts: BlockParts,
): Tensor {
  const { batch, sequence, hidden, cos, sin, masks, cut } = inputs;
  const { norm, linear, saved } = parts;
  const { numHeads, numKeyValueHeads, headDim, rmsNormEps } = config;
  const tokens = batch * sequence;

  const normOf = (x: Tensor, path: string): Tensor =>
    rmsNorm(x, norm(path), rmsNormEps, (inverse) => saved(`${path}.inverse`, inverse));
  const normed = normOf(hidden, 'input_layernorm');
  // The norm's derivative needs what it was given; everything after it is linear.
  const keepFlat = (name: 'q' | 'k' | 'v'): boolean => config.queryKeyNorm && name !== 'v';
  const project = (name: 'q' | 'k' | 'v', heads: number): Tensor => {
    const flat = linear(`self_attn.${name}_proj`, normed);
    return reshape(keepFlat(name) ? saved(name, flat) : flat, [tokens, heads, headDim]);
  };
  const position = (x: Tensor, name: 'q' | 'k', factor = 1): Tensor => {
    const scaled = config.queryKeyNorm ? rmsNorm(x, norm(`self_attn.${name}_norm`), rmsNormEps) : x;
    return rope(scaled, cos, sin, factor);
  };
  const query = position(project('q', numHeads), 'q', 1 / Math.sqrt(headDim));
  const key = position(project('k', numKeyValueHeads), 'k');
  const value = project('v', numKeyValueHeads);
  const shape = { ...attentionSize(config, { batch, sequence }), headDim };
  const context = attention(query, key, value, masks, shape, {
    cut,
    window: config.slidingWindow,
    prependPast: parts.prependPast,
    keep: (name, value) => {
      // With the context the backward pass needs the probabilities of no piece before that piece's turn.
      const kept = name === 'context' ? isCut(shape, cut) : !keepFlat(name);
      return kept ? saved(name, value) : value;
    },
  });
  const attended = saved('attended', add(hidden, linear('self_attn.o_proj', context)));

  const normedAgain = normOf(attended, 'post_attention_layernorm');
  const gate = saved('gate', linear('mlp.gate_proj', normedAgain));
  const up = saved('up', linear('mlp.up_proj', normedAgain));
  return add(attended, linear('mlp.down_proj', swiglu(gate, up)));
}
