/** What the runtime's own operators give in float32, against the definitions that float64 graphs use. */
import { describe, expect, it } from 'vitest';
import type { FloatType } from '../../../src/graph/dtype';
import { gradients } from '../../../src/graph/gradients';
import { Graph, type Tensor } from '../../../src/graph/graph';
import { rope } from '../../../src/graph/layers/rope';
import { swiglu } from '../../../src/graph/layers/swiglu';
import { silu } from '../../../src/graph/ops/elementwise';
import { sizeOf } from '../../../src/graph/shape';
import { Rng } from '../../../src/core/rng';
import { relativeError, runGraph } from './harness';

type Operation = (tensors: Tensor[]) => Tensor;

const cases: [name: string, op: string, shapes: number[][], operation: Operation][] = [
  ['silu', 'QuickGelu', [[7, 33]], ([x]) => silu(x!)],
  [
    'swiglu',
    'QuickGelu',
    [
      [7, 33],
      [7, 33],
    ],
    ([gate, up]) => swiglu(gate!, up!),
  ],
  [
    'rope of grouped heads',
    'RotaryEmbedding',
    [
      [5, 3, 8],
      [5, 1, 4],
      [5, 1, 4],
    ],
    ([x, cos, sin]) => rope(x!, cos!, sin!),
  ],
];

async function valueAndGradients(
  dtype: FloatType,
  shapes: readonly number[][],
  operation: Operation,
): Promise<{ ops: string[]; values: Record<string, ArrayLike<number>> }> {
  const rng = new Rng(3, 'fused forms');
  const graph = new Graph();
  const feeds: Record<string, Float32Array | Float64Array> = {};
  const input = (name: string, shape: number[]): Tensor => {
    const values = Array.from({ length: sizeOf(shape) }, () => Math.fround(2 * rng.normal()));
    feeds[name] = dtype === 'float32' ? Float32Array.from(values) : Float64Array.from(values);
    return graph.input(name, dtype, shape);
  };
  const tensors = shapes.map((shape, i) => input(`x${i}`, shape));
  const output = operation(tensors);
  const gradient = input('dy', [...output.shape]);
  graph.output('value', output);
  // The rotation's tables have no gradient.
  const targets = operation === cases.at(-1)?.[3] ? tensors.slice(0, 1) : tensors;
  gradients([{ output, gradient }], targets).forEach((g, i) => graph.output(`gradient.${i}`, g));
  const ops = graph.build().nodes.map(({ op }) => op);
  return { ops, values: (await runGraph(graph, feeds)) as Record<string, ArrayLike<number>> };
}

describe("the runtime's operators in float32", () => {
  it.each(cases)('%s', async (_, op, shapes, operation) => {
    const fused = await valueAndGradients('float32', shapes, operation);
    const plain = await valueAndGradients('float64', shapes, operation);
    expect(fused.ops).toContain(op);
    expect(plain.ops).not.toContain(op);
    expect(Object.keys(fused.values).length).toBeGreaterThan(1);
    for (const [name, exact] of Object.entries(plain.values)) {
      // Some ten roundings to 24 bits, and an exponential that is good to a few units in the last place.
      expect(relativeError(fused.values[name]!, exact), name).toBeLessThan(2e-6);
    }
  });
});
