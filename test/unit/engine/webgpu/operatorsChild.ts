/** One small graph for each operator that the graph layer emits; prints what the device computes. */
import { Graph, type Tensor } from '../../../../src/graph/graph';
import { sizeOf } from '../../../../src/graph/shape';
import { expand, reduceSum, reshape } from '../../../../src/graph/ops/broadcast';
import * as elementwise from '../../../../src/graph/ops/elementwise';
import * as indexing from '../../../../src/graph/ops/indexing';
import * as layout from '../../../../src/graph/ops/layout';
import { gemm, matmul } from '../../../../src/graph/ops/matmul';
import { reduceMax, reduceMean, softmax, sumOfSquares } from '../../../../src/graph/ops/reduce';
import { attention, maskSlices } from '../../../../src/graph/layers/attention';
import { applyMpo } from '../../../../src/graph/layers/mpo';
import { rope } from '../../../../src/graph/layers/rope';
import { bytePlanes, type Storage, storedWeight } from '../../../../src/graph/layers/storedWeight';
import { uploadWeight } from '../../../../src/trainer/engine/deviceWeights';
import { openDevice } from '../../../../src/trainer/ort/device';
import type { DeviceKind } from '../../../../src/trainer/ort/sessionOptions';
import { type HostArray, hostArray, type Value } from '../../../../src/trainer/ort/values';
import { operatorSignature } from './emittedOperators';
import { fourBitPairs } from './fourBitPairs';
import { Rng } from '../../../../src/core/rng';

type Build = (f: (name: string, shape: number[]) => Tensor, graph: Graph) => Tensor;

const binary = (operation: (a: Tensor, b: Tensor) => Tensor): Build => {
  return (f) => operation(f('a', [3, 4, 5]), f('b', [4, 1]));
};
const unary = (operation: (x: Tensor) => Tensor): Build => {
  return (f) => operation(f('x', [3, 40]));
};
/** Values in [1, 2): the logarithm and the root are defined there. */
const positive = (x: Tensor): Tensor => elementwise.addScalar(elementwise.sigmoid(x), 1);

const cases: Record<string, Build> = {
  Add: binary(elementwise.add),
  Sub: binary(elementwise.sub),
  Mul: binary(elementwise.mul),
  Div: binary((a, b) => elementwise.div(a, positive(b))),
  Max: (f, graph) => graph.node('Max', [f('a', [3, 40]), f('b', [3, 40])], [3, 40]),
  Neg: unary(elementwise.neg),
  Exp: unary(elementwise.exp),
  Log: unary((x) => elementwise.log(positive(x))),
  Sqrt: unary((x) => elementwise.sqrt(positive(x))),
  Reciprocal: unary((x) => elementwise.reciprocal(positive(x))),
  Sigmoid: unary(elementwise.sigmoid),
  QuickGelu: unary(elementwise.silu),
  RotaryEmbedding: (f) => rope(f('x', [5, 3, 8]), f('cos', [5, 1, 4]), f('sin', [5, 1, 4])),
  Cast: unary((x) =>
    elementwise.cast(elementwise.cast(elementwise.scale(x, 9), 'int32'), 'float32'),
  ),
  Softmax: unary(softmax),
  ReduceMean: unary((x) => reduceMean(x, [-1])),
  ReduceMax: unary((x) => reduceMax(x, [-1])),
  ReduceSum: (f) => reduceSum(f('x', [3, 4, 5]), [0, 2]),
  ReduceSumSquare: (f) => reshape(sumOfSquares(f('x', [70])), [1]),
  Expand: (f) => expand(f('x', [3, 1]), [2, 3, 4]),
  Reshape: (f) => reshape(f('x', [3, 4]), [2, 6]),
  Transpose: (f) => layout.transpose(f('x', [2, 3, 4, 5]), [0, 2, 3, 1]),
  Slice: (f) => layout.slice(f('x', [4, 6]), [1, 2], [3, 6]),
  Pad: (f) => layout.pad(f('x', [2, 3]), [1, 0], [0, 2]),
  Concat: (f) => layout.concat([f('a', [2, 3]), f('b', [2, 4])], 1),
  Gemm: (f) => gemm(f('a', [7, 33]), f('b', [9, 33]), { transposeB: true }),
  'Gemm transposed': (f) => gemm(f('a', [33, 7]), f('b', [33, 9]), { transposeA: true }),
  MatMul: (f) => matmul(f('a', [3, 1, 7, 33]), f('b', [1, 2, 33, 5])),
  'MatMul of one with many': (f) =>
    applyMpo(f('x', [9, 24]), [f('a', [1, 2, 4, 3]), f('b', [3, 5, 6, 1])], {
      orientation: 'out',
      outFeatures: 10,
      inFeatures: 24,
    }),
  Gather: (f, g) => indexing.lookUp(f('x', [6, 4]), g.int32s([5, 0, 5], [3])),
  ScatterND: (f, g) =>
    indexing.scatterAddRows(f('x', [6, 4]), g.int32s([5, 0, 5], [3]), f('u', [3, 4])),
  GatherElements: (f, g) => indexing.pickColumns(f('x', [3, 9]), g.int32s([8, 0, 4], [3, 1])),
  ScatterElements: (f, g) =>
    indexing.addToColumns(f('x', [3, 9]), g.int32s([8, 0, 4], [3, 1]), f('u', [3, 1])),
  Equal: (_, g) =>
    elementwise.choose(
      elementwise.compare('Equal', g.int32s([1, 2, 3], [3, 1]), g.int32s([3, 1, 2], [3])),
      1,
      -1,
    ),
  'Equal of floats': (f, g) => {
    const x = f('x', [3, 1]);
    const row = reshape(layout.concat([g.floats('float32', [1], [1, 1]), x], 0), [4]);
    return elementwise.choose(elementwise.compare('Equal', x, row), 1, -1);
  },
  'Gather of bytes': (_, g) =>
    storedWeight(g, 'w', [6, 4], { form: 'bf16' }, (part) =>
      indexing.lookUp(part, g.int32s([5, 0, 5], [3])),
    ),
  Less: (_, g) =>
    elementwise.choose(
      elementwise.compare('Less', g.int32s([1, 2, 3], [3, 1]), g.int32s([3, 1, 2], [3])),
      1,
      -1,
    ),
  'And LessOrEqual Where': (_, g) => {
    const [a, b] = [g.int32s([1, 2, 3], [3, 1]), g.int32s([3, 1, 2], [3])];
    const both = elementwise.logicalAnd(
      elementwise.compare('LessOrEqual', a, b),
      elementwise.compare('Less', g.int32s([1, 1, 0], [3]), b),
    );
    return elementwise.choose(both, 1, -1);
  },
  Identity: (f) => f('x', [3]),
  // Composites whose chunks or stored forms the training test does not reach.
  'attention in chunks': (f) =>
    attention(
      f('q', [14, 4, 6]),
      f('k', [14, 2, 6]),
      f('v', [14, 2, 6]),
      maskSlices(f('m', [2, 1, 1, 7, 7])),
      { batch: 2, sequence: 7, heads: 4, keyValueHeads: 2, headDim: 6 },
      { cut: { sequences: 1, keyHeads: 1, queries: 3 } },
    ),
};

const device = openDevice({ kind: process.argv[2] as DeviceKind, threads: 1 });
const report: Record<string, { ops: string[]; signatures: string[]; values: number[] }> = {};
for (const [name, build] of Object.entries(cases)) {
  const graph = new Graph();
  const feeds: Record<string, HostArray> = {};
  const output = build((input, shape) => {
    feeds[input] = new Rng(3, `${name} ${input}`).normals(sizeOf(shape), 1);
    return graph.input(input, 'float32', shape);
  }, graph);
  graph.output('y', output);
  const built = graph.build();
  for (const { name: input, dtype, shape } of built.inputs) {
    if (dtype !== 'uint8') continue;
    // Exponents about 2^0 in the high bytes.
    feeds[input] = Uint8Array.from({ length: sizeOf(shape) }, (_, i) => 60 + (i % 5));
  }
  const session = await device.compile(built, { host: ['y'] });
  const { y } = await session.run(feeds);
  report[name] = {
    ops: built.nodes.map(({ op }) => op),
    signatures: built.nodes.map(operatorSignature),
    values: [...hostArray(y)],
  };
  await session.release();
}

/** Widens one stored tensor of `length` elements. */
async function widen(
  name: string,
  length: number,
  storage: Storage,
  feeds: Record<string, Value>,
): Promise<void> {
  const graph = new Graph();
  graph.output('y', storedWeight(graph, 'w', [length], storage));
  const built = graph.build();
  const session = await device.compile(built, { host: ['y'] });
  const { y } = await session.run(feeds);
  report[name] = {
    ops: built.nodes.map(({ op }) => op),
    signatures: built.nodes.map(operatorSignature),
    values: [...hostArray(y)],
  };
  await session.release();
}

// Every 16-bit pattern of either type, and every 4-bit pair with both forms of scales.
const { high, low } = bytePlanes(Uint16Array.from({ length: 2 ** 16 }, (_, i) => i));
for (const form of ['bf16', 'f16'] as const)
  await widen(form, 2 ** 16, { form }, { 'w.high': high, 'w.low': low });
for (const doubleQuantized of [false, true]) {
  const tensor = fourBitPairs(doubleQuantized);
  // As the engine lays it out on a GPU.
  const { storage, parts } = await uploadWeight(device, 'w', tensor, [tensor.length]);
  const feeds = Object.fromEntries(parts.map(({ suffix, value }) => [`w${suffix}`, value]));
  await widen(doubleQuantized ? 'nf4 double' : 'nf4', tensor.length, storage, feeds);
}
await device.dispose();
console.log(JSON.stringify(report, (_, value: unknown) => (Number.isNaN(value) ? 'NaN' : value)));
