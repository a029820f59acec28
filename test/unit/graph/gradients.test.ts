import { describe, expect, it } from 'vitest';
import { gradients } from '../../../src/graph/gradients';
import { Graph } from '../../../src/graph/graph';
import { attention, maskSlices } from '../../../src/graph/layers/attention';
import { crossEntropy } from '../../../src/graph/layers/crossEntropy';
import { mergeMpo } from '../../../src/graph/layers/mpo';
import { rmsNorm } from '../../../src/graph/layers/rmsNorm';
import { rope } from '../../../src/graph/layers/rope';
import { swiglu } from '../../../src/graph/layers/swiglu';
import type { Tensor } from '../../../src/graph/graph';
import { checkGradient, type FloatInput, relativeError, runGraph } from './harness';
import { expand, reduceSum, reshape } from '../../../src/graph/ops/broadcast';
import {
  add,
  addScalar,
  cast,
  div,
  exp,
  log,
  mul,
  neg,
  reciprocal,
  scale,
  sigmoid,
  silu,
  sqrt,
  sub,
} from '../../../src/graph/ops/elementwise';
import { gatherRows, pickColumns } from '../../../src/graph/ops/indexing';
import { concat, flatten, pad, slice, transpose, unflatten } from '../../../src/graph/ops/layout';
import { gemm, matmul } from '../../../src/graph/ops/matmul';
import { reduceMax, reduceMean, softmax } from '../../../src/graph/ops/reduce';

type Case = [
  name: string,
  inputs: Record<string, FloatInput>,
  operation: (t: Record<string, Tensor>, graph: Graph) => Tensor,
];

const x23 = { x: { shape: [2, 3] } };
const positive = { x: { shape: [2, 3], values: [0.5, 1.2, 2, 0.3, 0.9, 3] } };
/** Indices as the graph sees them: int32. */
const indices = (graph: Graph, values: readonly number[], shape: readonly number[]): Tensor =>
  cast(graph.floats('float64', values, shape), 'int32');

const cases: Case[] = [
  ['add', { a: { shape: [2, 3] }, b: { shape: [3] } }, ({ a, b }) => add(a!, b!)],
  ['sub', { a: { shape: [1, 3] }, b: { shape: [2, 1] } }, ({ a, b }) => sub(a!, b!)],
  ['mul', { a: { shape: [2, 1, 3] }, b: { shape: [4, 1] } }, ({ a, b }) => mul(a!, b!)],
  [
    'div',
    { a: { shape: [2, 3] }, b: { shape: [3], values: [0.7, -1.3, 2] } },
    ({ a, b }) => div(a!, b!),
  ],
  ['mul of a tensor with itself', x23, ({ x }) => mul(x!, x!)],
  ['neg', x23, ({ x }) => neg(x!)],
  ['exp', x23, ({ x }) => exp(x!)],
  ['log', positive, ({ x }) => log(x!)],
  ['sqrt', positive, ({ x }) => sqrt(x!)],
  ['reciprocal', positive, ({ x }) => reciprocal(x!)],
  ['sigmoid', x23, ({ x }) => sigmoid(x!)],
  ['silu', x23, ({ x }) => silu(x!)],
  ['swiglu', { g: { shape: [2, 3] }, u: { shape: [2, 3] } }, ({ g, u }) => swiglu(g!, u!)],
  [
    'mul broadcast over a long first axis',
    { a: { shape: [3, 300] }, b: { shape: [300] } },
    ({ a, b }) => mul(a!, b!),
  ],
  ['scale', x23, ({ x }) => scale(x!, -1.7)],
  ['addScalar', x23, ({ x }) => addScalar(mul(x!, x!), 3)],
  ['reduceSum', { x: { shape: [2, 3, 4] } }, ({ x }) => reduceSum(x!, [0, -1])],
  ['reduceMean', { x: { shape: [2, 3, 4] } }, ({ x }) => reduceMean(x!, [1])],
  ['softmax', { x: { shape: [2, 3, 4] } }, ({ x }) => softmax(x!)],
  ['reshape', x23, ({ x }) => reshape(x!, [3, 2])],
  ['transpose', { x: { shape: [2, 3, 4] } }, ({ x }) => transpose(x!, [2, 0, 1])],
  ['expand', { x: { shape: [3, 1] } }, ({ x }) => expand(x!, [2, 3, 4])],
  ['slice', { x: { shape: [3, 4] } }, ({ x }) => slice(x!, [1, 0], [3, 2])],
  ['pad', x23, ({ x }) => pad(x!, [1, 0], [0, 2])],
  ['concat', { a: { shape: [2, 1] }, b: { shape: [2, 3] } }, ({ a, b }) => concat([a!, b!], 1)],
  ['flatten', { a: { shape: [2, 1] }, b: { shape: [3] } }, ({ a, b }) => flatten([a!, b!])],
  [
    'unflatten',
    { flat: { shape: [7] } },
    ({ flat }) => {
      const [a, b] = unflatten(flat!, [[2, 2], [3]]);
      return add(reduceSum(transpose(a!, [1, 0]), [0]), reduceSum(b!, [0]));
    },
  ],
  [
    'matmul with broadcast batches',
    { a: { shape: [2, 1, 3, 4] }, b: { shape: [3, 4, 2] } },
    ({ a, b }) => matmul(a!, b!),
  ],
  ...[false, true].flatMap((transposeA) =>
    [false, true].map((transposeB): Case => [
      `gemm ${transposeA} ${transposeB}`,
      { a: { shape: transposeA ? [4, 2] : [2, 4] }, b: { shape: transposeB ? [3, 4] : [4, 3] } },
      ({ a, b }) => gemm(a!, b!, { transposeA, transposeB }),
    ]),
  ),
  [
    'gatherRows with a repeated row',
    { x: { shape: [4, 3] } },
    ({ x }, graph) => gatherRows(x!, indices(graph, [2, 0, 2], [3])),
  ],
  [
    'pickColumns',
    { x: { shape: [3, 4] } },
    ({ x }, graph) => pickColumns(x!, indices(graph, [3, 0, 3], [3, 1])),
  ],
  [
    'rmsNorm',
    { x: { shape: [2, 2, 5] }, weight: { shape: [5] } },
    ({ x, weight }) => rmsNorm(x!, weight!, 1e-2),
  ],
  [
    'rope',
    { x: { shape: [3, 2, 4] } },
    ({ x }, graph) => {
      const angles = [0, 0, 1, 0.1, 2, 0.2];
      const table = (f: (angle: number) => number) =>
        graph.floats('float64', angles.map(f), [3, 1, 2]);
      return rope(x!, table(Math.cos), table(Math.sin));
    },
  ],
  [
    'attention with grouped queries',
    { q: { shape: [6, 4, 2] }, k: { shape: [6, 2, 2] }, v: { shape: [6, 2, 2] } },
    ({ q, k, v }, graph) => {
      const causal = [0, -1e9, -1e9, 0, 0, -1e9, 0, 0, 0];
      const mask = graph.floats('float64', [...causal, ...causal], [2, 1, 1, 3, 3]);
      return attention(q!, k!, v!, maskSlices(mask), {
        batch: 2,
        sequence: 3,
        heads: 4,
        keyValueHeads: 2,
        headDim: 2,
      });
    },
  ],
  [
    'crossEntropy with an ignored row',
    { logits: { shape: [3, 5] } },
    ({ logits }, graph) =>
      crossEntropy(
        logits!,
        indices(graph, [4, 0, 1], [3, 1]),
        graph.floats('float64', [1, 0, 1], [3, 1]),
      ),
  ],
  ...(['out', 'in'] as const).map((orientation): Case => [
    `mergeMpo of four cores, padded, ${orientation}`,
    {
      c0: { shape: [1, 2, 2, 3] },
      c1: { shape: [3, 2, 1, 2] },
      c2: { shape: [2, 1, 3, 2] },
      c3: { shape: [2, 2, 1, 1] },
    },
    ({ c0, c1, c2, c3 }) =>
      mergeMpo([c0!, c1!, c2!, c3!], {
        orientation,
        outFeatures: orientation === 'out' ? 7 : 5,
        inFeatures: orientation === 'out' ? 6 : 8,
      }),
  ]),
];

describe('gradients against central differences', () => {
  it.each(cases)('%s', async (_, inputs, operation) => {
    await checkGradient(inputs, operation);
  });

  it('adds up the contributions of a value used twice', async () => {
    await checkGradient({ x: { shape: [2, 2] } }, ({ x }) =>
      add(gemm(x!, x!, { transposeB: true }), exp(x!)),
    );
  });

  it('follows a replaced gradient rule and stops where there is none', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float64', [2]);
    const straightThrough = graph.withOrigin(exp(x), { inputs: [x], vjp: (dy) => [dy] });
    const stopped = graph.withOrigin(exp(x));
    const [dx] = gradients(
      [{ output: add(straightThrough, stopped), gradient: graph.floats('float64', [2, 3], [2]) }],
      [x],
    );
    graph.output('dx', dx!);
    const { dx: values } = await runGraph(graph, {});
    expect([...values!]).toEqual([2, 3]);
  });

  it('names a target that the output does not depend on', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float64', [1]);
    const other = graph.input('other', 'float64', [1]);
    expect(() => gradients([{ output: exp(x), gradient: x }], [other])).toThrow('no gradient');
  });
});

describe('values', () => {
  it('merges an MPO as the chain product defines it', async () => {
    // W[(i1 i2), (j1 j2)] = sum_d A[0, i1, j1, d] B[d, i2, j2, 0], both orientations.
    const a = Float64Array.from({ length: 2 * 3 * 2 }, (_, i) => Math.sin(i + 1));
    const b = Float64Array.from({ length: 2 * 2 * 2 }, (_, i) => Math.cos(i + 1));
    const expected = new Float64Array(4 * 6);
    for (let row = 0; row < 4; row++) {
      for (let col = 0; col < 6; col++) {
        const [i1, i2, j1, j2] = [row >> 1, row & 1, col >> 1, col & 1];
        for (let d = 0; d < 2; d++) {
          expected[row * 6 + col]! += a[(i1 * 3 + j1) * 2 + d]! * b[(d * 2 + i2) * 2 + j2]!;
        }
      }
    }
    const merged = async (orientation: 'out' | 'in') => {
      const graph = new Graph();
      const cores = [
        graph.input('a', 'float64', [1, 2, 3, 2]),
        graph.input('b', 'float64', [2, 2, 2, 1]),
      ];
      const [outFeatures, inFeatures] =
        orientation === 'out' ? ([4, 6] as const) : ([6, 4] as const);
      graph.output('w', mergeMpo(cores, { orientation, outFeatures, inFeatures }));
      return (await runGraph(graph, { a, b }))['w']!;
    };
    expect(relativeError(await merged('out'), expected)).toBeLessThan(1e-14);
    const transposed = Float64Array.from(
      expected,
      (_, i) => expected[(i % 4) * 6 + Math.floor(i / 4)]!,
    );
    expect(relativeError(await merged('in'), transposed)).toBeLessThan(1e-14);
  });

  it('computes the loss of a target whose probability underflows', async () => {
    const graph = new Graph();
    const logits = graph.input('logits', 'float32', [1, 2]);
    const labels = graph.input('labels', 'int32', [1, 1]);
    graph.output('loss', crossEntropy(logits, labels, graph.floats('float32', [1], [1, 1])));
    const { loss } = await runGraph(graph, {
      logits: Float32Array.of(500, -500),
      labels: Int32Array.of(1),
    });
    expect(loss![0]).toBe(1000);
  });

  it('takes the maximum along an axis', async () => {
    const graph = new Graph();
    graph.output('max', reduceMax(graph.input('x', 'float64', [2, 2]), [-1]));
    const { max } = await runGraph(graph, { x: Float64Array.of(1, 4, 3, 2) });
    expect([...max!]).toEqual([4, 3]);
  });
});
