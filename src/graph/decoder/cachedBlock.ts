/**
 * A decoder block with a cache of keys and values, for generation: the tokens at hand look at what
 * earlier ones left behind, so a token costs one row of arithmetic and not the whole sequence.
 */
import type { DecoderConfig } from '../../models/modelConfig';
import { type BuiltGraph, Graph, type Tensor } from '../graph';
import { add } from '../ops/elementwise';
import { concat } from '../ops/layout';
import { gemm } from '../ops/matmul';
import { maskSlices } from '../layers/attention';
import { attentionCut } from '../layers/attentionCut';
import { attentionSize, blockTensors, decoderBlock, type LinearPath } from './block';
import { type BlockShape, frozenInput } from './blockGraphs';

/** Bounds the memory of long stretches; there is no backward pass that would gain from small pieces. */
const maxScoresBytes = 2 ** 26;

export interface CachedBlockShape extends Omit<BlockShape, 'cut'> {
  /** Slots of the cache, filled or not; the mask says which count. 0 = there is no past yet. */
  past: number;
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
 * The graph that all blocks share, without adapters: their change is part of the weights. Inputs
 * `hidden [batch * sequence, hidden]`, `cos` and `sin` `[batch * sequence, 1, headDim / 2]`, `mask [batch, 1, 1, sequence, past + sequence]`,
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
  const weight = (name: string): Tensor => {
    const found = weights.get(name);
    if (!found) throw new Error(`block has no tensor "${name}"`);
    return found;
  };
  const output = decoderBlock(
    config,
    {
      batch,
      sequence,
      hidden: graph.input('hidden', dtype, [tokens, config.hiddenSize]),
      cos: graph.input('cos', dtype, rotary),
      sin: graph.input('sin', dtype, rotary),
      masks: maskSlices(graph.input('mask', dtype, [batch, 1, 1, sequence, past + sequence])),
      cut: attentionCut(
        { ...attentionSize(config, shape), keys: past + sequence },
        maxScoresBytes,
        sequence,
      ),
    },
    {
      norm: (path) => weight(`${path}.weight`),
      linear: denseLinear(config, weight),
      saved: (_name, value) => value,
      prependPast: (kind, current) => {
        graph.output(kind, current);
        if (past === 0) return current;
        return concat([graph.input(`past_${kind}`, dtype, cacheShape), current], 2);
      },
    },
  );
  graph.output('output', output);
  return graph.build();
}
