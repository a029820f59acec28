/** An MPO's product with activations, the dense way and core after core: the same function. */
import { describe, expect, it } from 'vitest';
import { MpoAdapter } from '../../../src/adapters/mpoAdapter';
import { chooseShape, fullBonds } from '../../../src/core/mpo/shapes';
import type { Core } from '../../../src/core/mpo/types';
import { Rng } from '../../../src/core/rng';
import { gradients } from '../../../src/graph/gradients';
import { Graph, type Tensor } from '../../../src/graph/graph';
import {
  applyMpo,
  mergeMpo,
  type MpoLayout,
  productWithMpo,
  sequentialWins,
} from '../../../src/graph/layers/mpo';
import { add } from '../../../src/graph/ops/elementwise';
import { flatten } from '../../../src/graph/ops/layout';
import { gemm } from '../../../src/graph/ops/matmul';
import { sizeOf } from '../../../src/graph/shape';
import { checkGradient, relativeError, runGraph } from './harness';

/** Cores `[1, 2, 3, 2] [2, 2, 2, 3] [3, 3, 1, 1]`, of a 12 x 6 matrix or its transpose. */
const shapes = [
  [1, 2, 3, 2],
  [2, 2, 2, 3],
  [3, 3, 1, 1],
] as const;
const layoutOf = (orientation: 'out' | 'in'): MpoLayout => ({
  orientation,
  outFeatures: orientation === 'out' ? 12 : 6,
  inFeatures: orientation === 'out' ? 6 : 12,
});

describe('the product with an MPO, core after core', () => {
  it.each(['out', 'in'] as const)(
    'has the gradients of its definition: %s',
    async (orientation) => {
      const layout = layoutOf(orientation);
      const inputs = {
        x: { shape: [5, layout.inFeatures] },
        ...Object.fromEntries(shapes.map((shape, k) => [`c${k}`, { shape }])),
      };
      await checkGradient(inputs, ({ x, c0, c1, c2 }) => applyMpo(x!, [c0!, c1!, c2!], layout));
    },
  );

  it.each(['out', 'in'] as const)(
    'is the product with the merged matrix: %s',
    async (orientation) => {
      const layout = layoutOf(orientation);
      const feeds: Record<string, Float64Array> = {};
      const graph = new Graph();
      const input = (name: string, shape: readonly number[]): Tensor => {
        feeds[name] = Float64Array.from(new Rng(4, name).normals(sizeOf(shape), 1));
        return graph.input(name, 'float64', shape);
      };
      const cores = shapes.map((shape, k) => input(`c${k}`, shape));
      const x = input('x', [7, layout.inFeatures]);
      const dy = input('dy', [7, layout.outFeatures]);
      const ways = {
        sequential: applyMpo(x, cores, layout),
        paired: productWithMpo(x, mergeMpo(cores, layout), cores, layout),
        dense: gemm(x, mergeMpo(cores, layout), { transposeB: true }),
      };
      for (const [name, y] of Object.entries(ways)) {
        graph.output(name, y);
        const parts = gradients([{ output: y, gradient: dy }], [...cores, x]);
        graph.output(`${name} gradient`, flatten(parts as Tensor[]));
      }
      const results = await runGraph(graph, feeds);
      // Sums of some ten terms in float64.
      for (const way of ['sequential', 'paired']) {
        for (const what of ['', ' gradient']) {
          const [own, dense] = [results[way + what]!, results[`dense${what}`]!];
          expect(relativeError(own, dense), way + what).toBeLessThan(1e-14);
        }
      }
    },
  );
});

describe('the product with a weight of which an MPO is a part', () => {
  // The second is cut to 11 x 5 from what its factors make.
  const sizes = [
    ['whole', 12, 6],
    ['cut', 11, 5],
  ] as const;
  it.each(sizes)('has the gradients of its definition: %s', async (_, outFeatures, inFeatures) => {
    const layout: MpoLayout = { orientation: 'out', outFeatures, inFeatures };
    const inputs = {
      x: { shape: [5, inFeatures] },
      ...Object.fromEntries(shapes.map((shape, k) => [`c${k}`, { shape }])),
    };
    await checkGradient(inputs, ({ x, c0, c1, c2 }, graph) => {
      const cores = [c0!, c1!, c2!];
      const other = graph.floats(
        x!.dtype,
        Array.from(new Rng(5, 'rest').normals(outFeatures * inFeatures, 1)),
        [outFeatures, inFeatures],
      );
      return productWithMpo(x!, add(other, mergeMpo(cores, layout)), cores, layout);
    });
  });

  // More than 2^20 numbers, so that the dense gradient is formed in parts; either side is the wider one.
  it.each([
    [32, 40, 32, 32],
    [32, 32, 32, 40],
    [7, 160, 32, 32],
    [7, 147, 40, 32],
  ])('has them in parts of the rows: %i x %i by %i x %i', async (rows1, rows2, cols1, cols2) => {
    const layout: MpoLayout = {
      orientation: 'out',
      outFeatures: rows1 * rows2 - 3,
      inFeatures: cols1 * cols2 - 5,
    };
    const feeds: Record<string, Float64Array> = {};
    const graph = new Graph();
    const input = (name: string, shape: readonly number[]): Tensor => {
      feeds[name] = Float64Array.from(new Rng(4, name).normals(sizeOf(shape), 1));
      return graph.input(name, 'float64', shape);
    };
    const cores = [input('c0', [1, rows1, cols1, 2]), input('c1', [2, rows2, cols2, 1])];
    const x = input('x', [3, layout.inFeatures]);
    const dy = input('dy', [3, layout.outFeatures]);
    const merged = mergeMpo(cores, layout);
    const ways = {
      paired: productWithMpo(x, merged, cores, layout),
      dense: gemm(x, merged, { transposeB: true }),
    };
    for (const [name, y] of Object.entries(ways)) {
      const parts = gradients([{ output: y, gradient: dy }], cores);
      parts.forEach((part, k) => graph.output(`${name} ${k}`, part!));
    }
    const results = await runGraph(graph, feeds);
    for (const k of cores.keys()) {
      // Sums of some thousand terms in float64.
      expect(relativeError(results[`paired ${k}`]!, results[`dense ${k}`]!)).toBeLessThan(1e-12);
    }
  });
});

describe('the choice between the two', () => {
  const wins = (
    out: number,
    into: number,
    rank: number,
    cores: number,
    tokens: number,
  ): boolean => {
    const shape = chooseShape(out, into, cores);
    const bonds = fullBonds(shape).map((full) => Math.min(full, rank));
    const dims = shape.rows.map((rows, k) => [
      bonds[k - 1] ?? 1,
      rows,
      shape.cols[k]!,
      bonds[k] ?? 1,
    ]);
    return sequentialWins(tokens, dims, {
      orientation: 'out',
      outFeatures: out,
      inFeatures: into,
    });
  };

  // Time of a forward and backward pass, sequential by dense, as measured (docs/performance.md).
  it.each([
    [1024, 1024, 4, 4, 128, 0.77],
    [1024, 1024, 4, 4, 1024, 1.18],
    [1024, 1024, 8, 4, 512, 1.49],
    [2048, 2048, 8, 4, 512, 1.52],
    [3072, 1024, 4, 4, 256, 0.69],
    [3072, 1024, 16, 4, 1024, 1.95],
    [4096, 4096, 4, 4, 128, 0.48],
    [4096, 4096, 4, 4, 512, 0.55],
    [4096, 4096, 16, 4, 64, 0.66],
    [11264, 4096, 4, 4, 512, 0.61],
    [128, 128, 8, 3, 512, 4.2],
    [512, 512, 4, 4, 1024, 2.6],
  ])('%i x %i at rank %i, %i cores, %i tokens: %f', (out, into, rank, cores, tokens, ratio) => {
    expect(wins(out, into, rank, cores, tokens)).toBe(ratio < 1);
  });

  it('is dense where the factors are padded', () => {
    const padded = { orientation: 'out', outFeatures: 4095, inFeatures: 4096 } as const;
    const square = [
      [1, 64, 64, 2],
      [2, 64, 64, 1],
    ];
    expect(sequentialWins(64, square, { ...padded, outFeatures: 4096 })).toBe(true);
    expect(sequentialWins(64, square, padded)).toBe(false);
  });

  it('is made by the adapter for each batch shape, and changes no number', async () => {
    const size = 256;
    const module = {
      path: 'model.layers.0.mlp.up_proj',
      layer: 0,
      pathInBlock: 'mlp.up_proj',
      outFeatures: size,
      inFeatures: size,
    } as const;
    const cores = [
      [1, 16, 16, 2],
      [2, 16, 16, 1],
    ].map((shape, k): Core => ({
      shape: shape as unknown as Core['shape'],
      data: new Rng(2, 'core', k).normals(sizeOf(shape), 0.3),
    }));
    const training = cores.map(() => ({ trainable: true, learningRateFactor: 1 }));
    const adapter = new MpoAdapter(module, cores, {
      orientation: 'out',
      form: 'explicit',
      training,
    });
    const run = async (tokens: number): Promise<{ y: Float32Array; merges: boolean }> => {
      const graph = new Graph();
      const x = graph.input('x', 'float32', [tokens, size]);
      const weight = graph.input('weight', 'float32', [size, size]);
      const tensors = new Map(
        adapter.tensors.map(({ name, shape }) => [name, graph.input(name, 'float32', shape)]),
      );
      graph.output(
        'y',
        adapter.apply(x, weight, (name) => tensors.get(name)!),
      );
      const { y } = await runGraph(graph, {
        x: new Rng(3, 'x').normals(tokens * size, 1),
        weight: new Rng(3, 'weight').normals(size * size, 0.05),
        ...Object.fromEntries(adapter.tensors.map(({ name, initial }) => [name, initial])),
      });
      // Only the dense way adds to the weight.
      const { nodes } = graph.build();
      const merges = nodes.some(({ op, inputs }) => op === 'Add' && inputs.includes('weight'));
      return { y: y as Float32Array, merges };
    };
    const [few, many] = [await run(64), await run(2048)];
    expect([few.merges, many.merges]).toEqual([false, true]);
    // The same first rows, in fp32: sums of 256 terms in two orders.
    expect(relativeError(few.y, many.y.subarray(0, few.y.length))).toBeLessThan(2e-6);
  });
});
