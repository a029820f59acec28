/** A graph that is cut into stages computes what it computed, with few of its large inputs at a time. */
import { describe, expect, it } from 'vitest';
import { Rng } from '../../../src/core/rng';
import { gradients } from '../../../src/graph/gradients';
import { type BuiltGraph, Graph, type Tensor } from '../../../src/graph/graph';
import { add, mul } from '../../../src/graph/ops/elementwise';
import { gemm } from '../../../src/graph/ops/matmul';
import { sizeOf } from '../../../src/graph/shape';
import { isCrossing } from '../../../src/graph/stages';
import { StagedSession } from '../../../src/trainer/engine/stagedSession';
import { openDevice } from '../../../src/trainer/ort/device';
import type { Value, Values } from '../../../src/trainer/ort/values';

const layers = 4;
const width = 6;
const matrixBytes = 4 * width * width;
const isMatrix = (name: string): boolean => name.startsWith('w');
const isWeight = (name: string): boolean => isMatrix(name) || name.startsWith('gain');

/** x -> x + gain_i * (x w_i^T), and the gradients of x and of all gains. */
function network(): Graph {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [3, width]);
  const dy = graph.input('dy', 'float32', [3, width]);
  const gains: Tensor[] = [];
  let y = x;
  for (let i = 0; i < layers; i++) {
    const matrix = graph.input(`w${i}`, 'float32', [width, width]);
    const gain = graph.input(`gain${i}`, 'float32', [1, width]);
    gains.push(gain);
    y = add(y, mul(gemm(y, matrix, { transposeB: true }), gain));
  }
  graph.output('y', y);
  gradients([{ output: y, gradient: dy }], [x, ...gains]).forEach((gradient, i) => {
    graph.output(i === 0 ? 'dx' : `dgain${i - 1}`, gradient);
  });
  return graph;
}

const stagesOf = (graph: Graph, maxBytes: number): BuiltGraph[] =>
  graph.buildStages({ isLarge: isMatrix, isWeight, isOrdered: (name) => name === 'dy', maxBytes });

const matricesOf = ({ inputs }: BuiltGraph): string[] =>
  inputs.map(({ name }) => name).filter(isMatrix);

function feedsOf(graph: BuiltGraph): Record<string, Float32Array> {
  return Object.fromEntries(
    graph.inputs.map(({ name, shape }) => [name, new Rng(2, name).normals(sizeOf(shape), 1)]),
  );
}

describe('a graph in stages', () => {
  it('takes no more matrices at a time than were allowed, forth and back', () => {
    // Forward 0 to 3, and backward 3 (at hand) to 0.
    expect(stagesOf(network(), matrixBytes).map(matricesOf)).toEqual(
      [0, 1, 2, 3, 2, 1, 0].map((i) => [`w${i}`]),
    );
    expect(stagesOf(network(), 2 * matrixBytes).map(matricesOf)).toEqual([
      ['w0', 'w1'],
      ['w2', 'w3'],
      ['w0', 'w1'],
    ]);
    expect(stagesOf(network(), Infinity)).toHaveLength(1);
    // A matrix that is larger than what is allowed has a stage of its own.
    expect(stagesOf(network(), 1).map((stage) => matricesOf(stage).length)).toEqual(
      Array<number>(7).fill(1),
    );
  });

  it.each([1, 2])('computes what it computes at once: %d matrices at a time', async (count) => {
    const device = openDevice({ kind: 'cpu', threads: 1 });
    const whole = network().build(isWeight);
    const feeds = feedsOf(whole);
    const session = await device.compile(whole);
    const expected = await session.run(feeds);

    const graphs = stagesOf(network(), count * matrixBytes);
    const sessions = [];
    for (const graph of graphs) sessions.push(await device.compile(graph));
    const asked: string[][] = [];
    const others = Object.entries(feeds).filter(([name]) => !isMatrix(name));
    const freed: Value[] = [];
    const free = (values: Iterable<Value>): Promise<void> => {
      freed.push(...values);
      return Promise.resolve();
    };
    const staged = new StagedSession(sessions, { free });
    const results = await staged.run(Object.fromEntries(others), (inputs): Promise<Values> => {
      const own = [...inputs].filter(isMatrix);
      asked.push(own);
      return Promise.resolve(Object.fromEntries(own.map((name) => [name, feeds[name]!])));
    });
    // The same kernels on the same numbers: equal bit by bit.
    expect(results).toEqual(expected);
    expect(asked).toEqual(graphs.map(matricesOf));
    // All that crosses is let go of.
    const crossing = graphs.flatMap(({ outputs }) =>
      outputs.filter(({ name }) => isCrossing(name)),
    );
    expect(crossing.length).toBeGreaterThan(0);
    expect(freed).toHaveLength(crossing.length);
    await staged.release();
    await session.release();
  });

  it('refuses a value between stages that has no array in the host’s memory', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [width, width]);
    const [a, b] = ['w0', 'w1'].map((name) => graph.input(name, 'float32', [width, width]));
    const first = gemm(x, a as Tensor);
    const positive = graph.node('Greater', [first, x], first.shape, { dtype: 'bool' });
    graph.output(
      'y',
      graph.node('Where', [positive, gemm(first, b as Tensor), x], first.shape, {
        dtype: 'float32',
      }),
    );
    const cut = (): unknown => stagesOf(graph, matrixBytes);
    expect(cut).toThrow(/bool.*cannot cross/);
  });
});
