/**
 * A whole decoder with a cache of keys and values as ONNX, with the inputs and outputs that
 * transformers.js and Optimum use. Batch, length and cache are named dimensions: where the engine's
 * graphs are compiled for one shape, this one runs for all.
 */
import { expectedWeights } from '../../models/config';
import type { NamedValueInfo, OnnxNode, Initializer } from '../../graph/onnx';
import type { DecoderConfig } from '../../models/modelConfig';
import { inverseFrequencies } from '../../models/rope';
import { Nodes } from './nodes';

export interface DecoderGraph {
  nodes: readonly OnnxNode[];
  /** Small ones; the weights are named as in the checkpoint and come from elsewhere. */
  constants: readonly Initializer[];
  inputs: readonly NamedValueInfo[];
  outputs: readonly NamedValueInfo[];
}

/** Added to the scores of pairs that may not see each other; finite, so that no row becomes NaN. */
const masked = -1e30;

/** Inputs `input_ids`, `attention_mask`, `position_ids`, `past_key_values.*`; outputs `logits`, `present.*`. */
export function decoderGraph(config: DecoderConfig): DecoderGraph {
  const nodes = new Nodes();
  const weights = expectedWeights(config);
  const block = new BlockNodes(nodes, config, weights);
  let hidden = nodes.add('Gather', ['model.embed_tokens.weight', 'input_ids']);
  hidden = nodes.reshape(hidden, -1, config.hiddenSize);
  const outputs: NamedValueInfo[] = [
    {
      name: 'logits',
      dtype: 'float32',
      shape: ['batch_size', 'sequence_length', config.vocabSize],
    },
  ];
  const inputs: NamedValueInfo[] = [
    { name: 'input_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
    { name: 'attention_mask', dtype: 'int64', shape: ['batch_size', 'total_sequence_length'] },
    { name: 'position_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
  ];
  const cache = (length: string): (string | number)[] => [
    'batch_size',
    config.numKeyValueHeads,
    length,
    config.headDim,
  ];
  for (let layer = 0; layer < config.numLayers; layer++) {
    hidden = block.add(layer, hidden);
    for (const kind of ['key', 'value']) {
      const past = `past_key_values.${layer}.${kind}`;
      inputs.push({ name: past, dtype: 'float32', shape: cache('past_sequence_length') });
      const present = `present.${layer}.${kind}`;
      outputs.push({ name: present, dtype: 'float32', shape: cache('total_sequence_length') });
    }
  }
  const normed = block.norm(hidden, 'model.norm.weight');
  const head = config.tieWordEmbeddings ? 'model.embed_tokens' : 'lm_head';
  const flat = block.linear(normed, head);
  const shape = nodes.concat([block.batch, block.sequence, nodes.ints(config.vocabSize)], 0);
  nodes.nodes.push({ op: 'Reshape', inputs: [flat, shape], outputs: ['logits'], attributes: [] });
  return { nodes: nodes.nodes, constants: nodes.constants, inputs, outputs };
}

class BlockNodes {
  /** `[1]` */
  readonly batch: string;
  readonly sequence: string;
  private readonly total: string;
  private readonly cos: string;
  private readonly sin: string;
  /** `[batch, 1, 1, sequence, total]` */
  private readonly mask: string;
  /** Of the scores with the query heads of a group apart. */
  private readonly groupedShape: string;

  constructor(
    private readonly nodes: Nodes,
    private readonly config: DecoderConfig,
    private readonly weights: ReadonlyMap<string, readonly number[]>,
  ) {
    this.batch = nodes.dimension('input_ids', 0);
    this.sequence = nodes.dimension('input_ids', 1);
    this.total = nodes.dimension('attention_mask', 1);
    [this.cos, this.sin] = this.rotary();
    this.mask = this.attentionMask();
    const { numHeads, numKeyValueHeads } = config;
    this.groupedShape = nodes.concat(
      [
        this.batch,
        nodes.ints(numKeyValueHeads, numHeads / numKeyValueHeads),
        this.sequence,
        this.total,
      ],
      0,
    );
  }

  /** @param hidden `[batch * sequence, hidden]`, as is the result */
  add(layer: number, hidden: string): string {
    const { nodes } = this;
    const path = (name: string): string => `model.layers.${layer}.${name}`;
    const attended = this.attention(
      layer,
      this.norm(hidden, path('input_layernorm.weight')),
      path('self_attn'),
    );
    const middle = nodes.add('Add', [hidden, attended]);
    const normed = this.norm(middle, path('post_attention_layernorm.weight'));
    const gate = this.linear(normed, path('mlp.gate_proj'));
    const active = nodes.add('Mul', [gate, nodes.add('Sigmoid', [gate])]);
    const product = nodes.add('Mul', [active, this.linear(normed, path('mlp.up_proj'))]);
    return nodes.add('Add', [middle, this.linear(product, path('mlp.down_proj'))]);
  }

  /** RMSNorm over the last axis. */
  norm(x: string, weight: string): string {
    const { nodes } = this;
    const square = nodes.add('Mul', [x, x]);
    const mean = nodes.add('ReduceMean', [square, nodes.ints(-1)]);
    const root = nodes.add('Sqrt', [nodes.add('Add', [mean, nodes.float(this.config.rmsNormEps)])]);
    return nodes.add('Mul', [nodes.add('Div', [x, root]), weight]);
  }

  /** x W^T, with the bias where the checkpoint has one. */
  linear(x: string, path: string): string {
    const bias = this.weights.has(`${path}.bias`) ? [`${path}.bias`] : [];
    return this.nodes.add('Gemm', [x, `${path}.weight`, ...bias], [{ name: 'transB', int: 1 }]);
  }

  private attention(layer: number, x: string, path: string): string {
    const { nodes, config } = this;
    const { numHeads, numKeyValueHeads, headDim, queryKeyNorm } = config;
    const heads = (name: string, count: number): string => {
      const rows = this.linear(x, `${path}.${name}_proj`);
      const shape = nodes.concat([this.batch, this.sequence, nodes.ints(count, headDim)], 0);
      let split = nodes.add('Reshape', [rows, shape]);
      if (queryKeyNorm && name !== 'v') split = this.norm(split, `${path}.${name}_norm.weight`);
      return nodes.transpose(split, 0, 2, 1, 3);
    };
    const query = this.rotate(heads('q', numHeads));
    const present = (kind: 'key' | 'value', current: string): string => {
      const all = nodes.concat([`past_key_values.${layer}.${kind}`, current], 2);
      nodes.name(`present.${layer}.${kind}`, all);
      return all;
    };
    const key = present('key', this.rotate(heads('k', numKeyValueHeads)));
    const value = present('value', heads('v', numKeyValueHeads));
    // Query heads that share a key head stand below each other: one product for all of them.
    const grouped = nodes.reshape(query, 0, numKeyValueHeads, -1, headDim);
    const products = nodes.add('MatMul', [grouped, nodes.transpose(key, 0, 1, 3, 2)]);
    const scores = nodes.add('Mul', [products, nodes.float(1 / Math.sqrt(headDim))]);
    const apart = nodes.add('Reshape', [scores, this.groupedShape]);
    const shares = nodes.add(
      'Softmax',
      [nodes.add('Add', [apart, this.mask])],
      [{ name: 'axis', int: -1 }],
    );
    const together = nodes.add('Reshape', [shares, this.scoreShape()]);
    const mixed = nodes.add('MatMul', [together, value]);
    const byHead = nodes.add('Reshape', [
      mixed,
      nodes.concat([this.batch, nodes.ints(numHeads), this.sequence, nodes.ints(headDim)], 0),
    ]);
    const rows = nodes.reshape(nodes.transpose(byHead, 0, 2, 1, 3), -1, numHeads * headDim);
    return this.linear(rows, `${path}.o_proj`);
  }

  private scoreShape(): string {
    const { nodes, config } = this;
    return nodes.concat([this.batch, nodes.ints(config.numKeyValueHeads, -1), this.total], 0);
  }

  /** Rotary embedding of `[batch, heads, sequence, headDim]`: entry i turns with i + headDim / 2. */
  private rotate(x: string): string {
    const { nodes, cos, sin } = this;
    const [first, second] = nodes.halves(x);
    const left = nodes.add('Sub', [
      nodes.add('Mul', [first, cos]),
      nodes.add('Mul', [second, sin]),
    ]);
    const right = nodes.add('Add', [
      nodes.add('Mul', [second, cos]),
      nodes.add('Mul', [first, sin]),
    ]);
    return nodes.concat([left, right], -1);
  }

  /** Cosines and sines of the positions, `[batch, 1, sequence, headDim / 2]`. */
  private rotary(): [string, string] {
    const { nodes, config } = this;
    const frequencies = Float32Array.from(inverseFrequencies(config));
    const positions = nodes.add('Cast', ['position_ids'], [{ name: 'to', int: 1 }]);
    const angles = nodes.add('Mul', [
      nodes.add('Unsqueeze', [positions, nodes.ints(1, 3)]),
      nodes.floats(frequencies, [frequencies.length]),
    ]);
    return [nodes.add('Cos', [angles]), nodes.add('Sin', [angles])];
  }

  /** 0 where a token may look, by the order of slots in the cache; a large negative number elsewhere. */
  private attentionMask(): string {
    const { nodes, config } = this;
    const scalar = (value: string): string => nodes.add('Squeeze', [value]);
    const past = nodes.add('Sub', [this.total, this.sequence]);
    const range = (from: string, to: string): string =>
      nodes.add('Range', [from, to, nodes.intScalar(1)]);
    const rows = nodes.add('Unsqueeze', [range(scalar(past), scalar(this.total)), nodes.ints(1)]);
    const columns = range(nodes.intScalar(0), scalar(this.total));
    let allowed = nodes.add('LessOrEqual', [columns, rows]);
    if (config.slidingWindow !== undefined) {
      const first = nodes.add('Sub', [rows, nodes.intScalar(config.slidingWindow)]);
      allowed = nodes.add('And', [allowed, nodes.add('Greater', [columns, first])]);
    }
    const present = nodes.add('Greater', ['attention_mask', nodes.intScalar(0)]);
    const keys = nodes.add('Unsqueeze', [present, nodes.ints(1, 2, 3)]);
    return nodes.add('Where', [
      nodes.add('And', [keys, allowed]),
      nodes.float(0),
      nodes.float(masked),
    ]);
  }
}
