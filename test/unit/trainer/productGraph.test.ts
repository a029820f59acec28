import { describe, expect, it } from 'vitest';
import { Rng } from '../../../src/core/rng';
import { type BuiltGraph, Graph, type Tensor } from '../../../src/graph/graph';
import { reshape } from '../../../src/graph/ops/broadcast';
import { neg } from '../../../src/graph/ops/elementwise';
import { transpose, transposeLast } from '../../../src/graph/ops/layout';
import { gemm, matmul } from '../../../src/graph/ops/matmul';
import { sizeOf } from '../../../src/graph/shape';
import { defaults, openEngine, randomBatch } from '../../../bench/step/setup';
import { openDevice } from '../../../src/trainer/ort/device';
import { CountingDevice } from '../../../src/trainer/profile/countingDevice';
import { productFlops, productGraphs } from '../../../src/trainer/profile/productGraph';
import { takeStep } from '../../../src/trainer/profile/takeStep';

const isProduct = ({ op }: { op: string }): boolean => op === 'Gemm' || op === 'MatMul';

function build(make: (input: (name: string, shape: number[]) => Tensor) => Tensor): BuiltGraph {
  const graph = new Graph();
  graph.output(
    'y',
    make((name, shape) => graph.input(name, 'float32', shape)),
  );
  return graph.build();
}

async function run(graph: BuiltGraph, feeds: Record<string, Float32Array>): Promise<number[]> {
  const device = openDevice({ kind: 'cpu', threads: 1 });
  const session = await device.compile(graph, { host: graph.outputs.map(({ name }) => name) });
  const results = await session.run(feeds);
  await session.release();
  return graph.outputs.map(({ name }) => (results[name] as Float32Array)[0]!);
}

function feedsOf(graph: BuiltGraph): Record<string, Float32Array> {
  return Object.fromEntries(
    graph.inputs.map(({ name, shape }) => [name, new Rng(1, name).normals(sizeOf(shape), 1)]),
  );
}

describe('the products of a graph', () => {
  it('are those of a step, in its order, with nothing else', async () => {
    const device = new CountingDevice(openDevice({ kind: 'cpu', threads: 1 }));
    const size = { hidden: 128, layers: 2, batch: 2, sequence: 16, vocabulary: 300, rank: 4 };
    const options = { ...defaults, ...size, threads: 1 };
    const engine = await openEngine(options, device);
    device.take();
    await takeStep(engine, [randomBatch(options)], 1);
    const graphs = device.take();
    await engine.dispose();

    const withProducts = graphs.filter((graph) => graph.nodes.some(isProduct));
    // Two blocks forward and backward, and the head at least.
    expect(withProducts.length).toBeGreaterThanOrEqual(5);
    expect(
      productGraphs(
        graphs.find((graph) => !graph.nodes.some(isProduct))!,
        true,
      ),
    ).toBeUndefined();
    for (const graph of withProducts) {
      const { products, without } = productGraphs(graph, true)!;
      const described = ({ nodes }: BuiltGraph) =>
        nodes
          .filter(isProduct)
          .map(({ op, inputShapes, attributes }) => ({ op, inputShapes, attributes }));
      expect(described(products)).toEqual(described(graph));
      expect(productFlops(products)).toBe(productFlops(graph));
      const others = new Set(products.nodes.filter((node) => !isProduct(node)).map(({ op }) => op));
      for (const op of others) expect(['Reshape', 'Transpose', 'Slice']).toContain(op);
      expect(products.outputs).toHaveLength(described(graph).length);
      expect(products.outputs.every(({ shape }) => sizeOf(shape) === 1)).toBe(true);

      expect(without.inputs).toEqual(products.inputs);
      expect(new Set(without.nodes.map(({ op }) => op))).toEqual(new Set(['Slice']));
      expect(without.outputs.length).toBeGreaterThanOrEqual(products.outputs.length);
      // The runtime computes what is the same only once.
      const elements = without.nodes.map(({ inputs }) => inputs.join());
      expect(new Set(elements).size).toBe(elements.length);
    }
  });

  it('read each other’s results and tensors of their own, and are computed', async () => {
    const graph = build((input) => {
      const [x, a] = [input('x', [2, 6]), input('a', [6, 12])];
      const first = gemm(x, a);
      // The result of a product, reshaped, and one that something else is done to.
      const second = matmul(reshape(first, [4, 6]), a);
      return matmul(reshape(neg(second), [8, 6]), input('b', [6, 3]));
    });
    const { products } = productGraphs(graph, true)!;
    expect(products.inputs.map(({ shape }) => shape)).toEqual([
      [2, 6],
      [6, 12],
      [4, 12],
      [6, 3],
    ]);
    const feeds = feedsOf(products);
    const [x, a, c, b] = products.inputs.map(({ name }) => feeds[name]!) as Float32Array[];
    const times = (l: Float32Array, r: Float32Array, k: number, n: number): Float32Array =>
      Float32Array.from({ length: (l.length / k) * n }, (_, at) => {
        const [row, column] = [Math.floor(at / n), at % n];
        return Array.from({ length: k }, (_, i) => l[row * k + i]! * r[i * n + column]!).reduce(
          (sum, term) => sum + term,
        );
      });
    const first = times(x!, a!, 6, 12);
    const expected = [first, times(first, a!, 6, 12), times(c!, b!, 6, 3)].map(
      (result) => result[0]!,
    );
    const found = await run(products, feeds);
    expect(found).toHaveLength(3);
    // Sums of six terms in fp32, of numbers around 1.
    found.forEach((value, i) => expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-4));
  });

  it('read operands transposed where the runtime does, and else find them so', () => {
    const graph = build((input) => {
      const swapped = transposeLast(input('x', [5, 4, 3]));
      const moved = transpose(input('z', [4, 5, 2]), [1, 0, 2]);
      return matmul(swapped, moved);
    });
    const shapes = (readsTransposed: boolean) =>
      productGraphs(graph, readsTransposed)!.products.inputs.map(({ shape }) => shape);
    expect(shapes(true)).toEqual([
      [5, 4, 3],
      [5, 4, 2],
    ]);
    expect(shapes(false)).toEqual([
      [5, 3, 4],
      [5, 4, 2],
    ]);
  });

  it.each([
    ['a product', 2 * 5 * 3 * 4, build((input) => gemm(input('a', [5, 3]), input('b', [3, 4])))],
    [
      'a transposed one',
      2 * 5 * 3 * 4,
      build((input) =>
        gemm(input('a', [3, 5]), input('b', [4, 3]), { transposeA: true, transposeB: true }),
      ),
    ],
    [
      'a batch of them, with broadcast axes',
      6 * 7 * (2 * 5 * 3 * 4),
      build((input) => matmul(input('a', [6, 1, 5, 3]), input('b', [7, 3, 4]))),
    ],
  ])('has the operations of %s', (_, flops, graph) => {
    expect(productFlops(graph)).toBe(flops);
  });
});
