import { describe, expect, it } from 'vitest';
import { Graph } from '../../../src/graph/graph';
import { broadcastShapes } from '../../../src/graph/shape';
import { runGraph } from './harness';
import { reshape } from '../../../src/graph/ops/broadcast';
import { add, exp, mul } from '../../../src/graph/ops/elementwise';
import { transpose } from '../../../src/graph/ops/layout';
import { gemm, matmul } from '../../../src/graph/ops/matmul';

describe('Graph', () => {
  it('drops nodes, constants and inputs that no output needs', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const unused = graph.input('unused', 'float32', [2]);
    exp(mul(x, unused));
    graph.output('y', add(x, graph.floats('float32', [1])));
    const built = graph.build();
    expect(built.nodes.map(({ op }) => op)).toEqual(['Add']);
    expect(built.inputs.map(({ name }) => name)).toEqual(['x']);
  });

  it('keeps constants apart from inputs, whose name they would silently take', () => {
    const graph = new Graph();
    expect(() => graph.input('_c0', 'float32', [1])).toThrow('reserved');
    graph.input('x', 'float32', [1]);
    expect(() => graph.input('x', 'float32', [1])).toThrow('twice');
    expect(() => graph.output('x', graph.floats('float32', [1]))).toThrow('twice');
  });

  it('serves one value under two names, and an input as an output', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [2]);
    const y = add(x, x);
    graph.output('first', y);
    graph.output('second', y);
    graph.output('same', x);
    const results = await runGraph(graph, { x: Float32Array.of(1, 2) });
    expect([...results['first']!]).toEqual([2, 4]);
    expect([...results['second']!]).toEqual([2, 4]);
    expect([...results['same']!]).toEqual([1, 2]);
  });

  it('refuses shapes that do not fit, at build time', () => {
    const graph = new Graph();
    const a = graph.input('a', 'float32', [2, 3]);
    const b = graph.input('b', 'float32', [2, 3]);
    expect(() => gemm(a, b)).toThrow('cannot multiply [2, 3] by [2, 3]');
    expect(() => matmul(a, b)).toThrow('cannot multiply');
    expect(() => reshape(a, [4])).toThrow('cannot reshape');
    expect(() => transpose(a, [0, 0])).toThrow('permute');
    expect(() => broadcastShapes([2, 3], [2])).toThrow('cannot broadcast');
    expect(() => add(a, graph.input('d', 'float64', [2, 3]))).toThrow('float32 with float64');
    expect(() => add(a, new Graph().input('z', 'float32', [2, 3]))).toThrow('another graph');
  });
});
