/**
 * A decoder block with a cache of keys and values, for generation: the tokens at hand look at what
 * earlier ones left behind, so a token costs one row of arithmetic and not the whole sequence.
 */
import type { DecoderConfig } from '../../models/modelConfig';
import { type BuiltGraph, Graph, type Tensor } from '../graph';
import { add } from '../ops/elementwise';
import { concat } from '../ops/layout';
import { gemm } from '../ops/matmul';
import { type BlockInputs, blockTensors, decoderBlock, type LinearPath } from './block';
import { type BlockShape, frozenInput } from './blockGraphs';

export interface CachedBlockShape extends BlockShape {
  /** Slots of the cache, filled or not; the mask says which count. 0 = there is no past yet. */
  past: number;
}

export interface CachedBlockTensors {
  /** Keys and values of earlier tokens, `[batch, keyValueHeads, past, headDim]`, rotated already. */
  past: { key: Tensor; value: Tensor } | undefined;
  /** A base weight by its path inside the block, e.g. `self_attn.q_proj.weight`. */
  weight: (name: string) => Tensor;
}

export interface CachedBlock {
  /** `[batch * sequence, hidden]` */
  output: Tensor;
  /** Of the tokens at hand alone, `[batch, keyValueHeads, sequence, headDim]`. */
  current: { key: Tensor; value: Tensor };
  /** Past and current ones, `[batch, keyValueHeads, past + sequence, headDim]`. */
  present: { key: Tensor; value: Tensor };
}

/**
 * One block without adapters (their change is part of the weights) on any graph: the engine's
 * one-block graphs and whole exported models are made of it.
 * @param inputs mask `[batch, 1, 1, sequence, past + sequence]`
 */
export function cachedBlock(
  config: DecoderConfig,
  inputs: BlockInputs,
  { past, weight }: CachedBlockTensors,
): CachedBlock {
  const current: Partial<CachedBlock['current']> = {};
  const present: Partial<CachedBlock['present']> = {};
  const output = decoderBlock(config, inputs, {
    norm: (path) => weight(`${path}.weight`),
    linear: denseLinear(config, weight),
    saved: (_name, value) => value,
    prependPast: (kind, rows) => {
      const all = past ? concat([past[kind], rows], 2) : rows;
      current[kind] = rows;
      present[kind] = all;
      return all;
    },
  });
  return {
    output,
    current: current as CachedBlock['current'],
    present: present as CachedBlock['present'],
  };
}

/** Linear layers as they stand in the checkpoint, with their biases. */
function denseLinear(
  config: DecoderConfig,
  weight: (name: string) => Tensor,
): (path: LinearPath, x: Tensor) => Tensor {
  const names = new Set(blockTensors(config).map(({ name }) => name));
  return (path, x) => {
    const product = gemm(x, weight(`${path}.weight`), { transposeB: true });
    const bias = `${path}.bias`;
    return names.has(bias) ? add(product, weight(bias)) : product;
  };
}

/**
 * The graph that all blocks share. Inputs `hidden [batch * sequence, hidden]`, `cos` and `sin`
 * `[batch * sequence, 1, headDim / 2]`, `mask [batch, 1, 1, sequence, past + sequence]`,
 * `past_key`, `past_value` (where past > 0), `frozen.*`. Outputs `output`, and of the tokens at hand
 * `key` and `value`, which the caller puts into its cache.
 */
export function buildCachedBlock(config: DecoderConfig, shape: CachedBlockShape): BuiltGraph {
  const { batch, sequence, past, dtype } = shape;
  const graph = new Graph();
  const tokens = batch * sequence;
  const rotary = [tokens, 1, config.headDim / 2];
  const cacheShape = [batch, config.numKeyValueHeads, past, config.headDim];
  const weights = new Map(
    blockTensors(config).map(({ name, shape: size }) => [
      name,
      graph.input(frozenInput(name), dtype, size),
    ]),
  );
  const { output, current } = cachedBlock(
    config,
    {
      batch,
      sequence,
      hidden: graph.input('hidden', dtype, [tokens, config.hiddenSize]),
      cos: graph.input('cos', dtype, rotary),
      sin: graph.input('sin', dtype, rotary),
      mask: graph.input('mask', dtype, [batch, 1, 1, sequence, past + sequence]),
    },
    {
      past:
        past === 0
          ? undefined
          : {
              key: graph.input('past_key', dtype, cacheShape),
              value: graph.input('past_value', dtype, cacheShape),
            },
      weight: (name) => {
        const found = weights.get(name);
        if (!found) throw new Error(`block has no tensor "${name}"`);
        return found;
      },
    },
  );
  graph.output('output', output);
  graph.output('key', current.key);
  graph.output('value', current.value);
  return graph.build();
}
