import { describe, expect, it } from 'vitest';
import { attentionSize, blockTensors } from '../../../src/graph/decoder/block';
import {
  type BlockPlan,
  buildBlockBackward,
  buildBlockForward,
} from '../../../src/graph/decoder/blockGraphs';
import type { BuiltGraph } from '../../../src/graph/graph';
import { wholeAttention } from '../../../src/graph/layers/attentionCut';
import { gemm } from '../../../src/graph/ops/matmul';
import { tinyConfig } from '../engine/tiny';

/** All weights frozen: the backward pass has one product a linear layer, for the input. */
const frozenPlan: BlockPlan = {
  config: tinyConfig,
  trainable: [],
  frozen: blockTensors(tinyConfig),
  linear: (path, x, tensor) => gemm(x, tensor(`${path}.weight`), { transposeB: true }),
};
const shape = {
  batch: 2,
  sequence: 8,
  dtype: 'float32',
  cut: wholeAttention(attentionSize(tinyConfig, { batch: 2, sequence: 8 })),
} as const;
const products = (graph: BuiltGraph): number =>
  graph.nodes.filter(({ op }) => op === 'Gemm').length;
/** Uncut, so that there is one stage. */
const only = ([graph]: readonly BuiltGraph[]): BuiltGraph => graph as BuiltGraph;
const names = (values: readonly { name: string }[]): string[] => values.map(({ name }) => name);

describe('block graphs', () => {
  it('hand over the products’ outputs and the norms’ inverses when a backward pass follows', () => {
    const attention = ['input_layernorm.inverse', 'q', 'k', 'v', 'attended'];
    const saved = [...attention, 'post_attention_layernorm.inverse', 'gate', 'up'];
    expect(names(only(buildBlockForward(frozenPlan, shape, { save: true })).outputs)).toEqual([
      ...saved.map((name) => `saved.${name}`),
      'output',
    ]);
    expect(names(only(buildBlockForward(frozenPlan, shape, { save: false })).outputs)).toEqual([
      'output',
    ]);
  });

  it('compute no product again with saved values, and those that matter with recomputation', () => {
    const options = { inputGradient: true };
    const saving = only(buildBlockBackward(frozenPlan, shape, { ...options, recompute: false }));
    const recomputing = only(
      buildBlockBackward(frozenPlan, shape, { ...options, recompute: true }),
    );
    expect(products(saving)).toBe(7);
    // The down projection's own output is needed by no gradient.
    expect(products(recomputing)).toBe(7 + 6);
    expect(names(recomputing.inputs).some((name) => name.startsWith('saved.'))).toBe(false);
  });

  it('leave out the gradients of frozen weights and of an input that nobody asks for', () => {
    const trainable = blockTensors(tinyConfig);
    const plan = { ...frozenPlan, trainable, frozen: [] };
    const both = only(buildBlockBackward(plan, shape, { recompute: false, inputGradient: true }));
    const last = only(buildBlockBackward(plan, shape, { recompute: false, inputGradient: false }));
    expect(names(both.outputs)).toEqual(['next_gradient', 'input_gradient']);
    expect(products(both)).toBe(14);
    // Without the block's input gradient, q, k and v still pass theirs to the norm's weight.
    expect(names(last.outputs)).toEqual(['next_gradient']);
    expect(products(last)).toBe(14);
  });
});
