/** Results on the CPU are written where they are wanted, and the binding's copies of them are not made. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, describe, expect, it } from 'vitest';
import { Graph } from '../../../src/graph/graph';
import { neg } from '../../../src/graph/ops/elementwise';
import { gatherRows } from '../../../src/graph/ops/indexing';
import { openDevice } from '../../../src/trainer/ort/device';
import { unfilled } from '../../../src/trainer/ort/inPlace';

const size = 2 ** 20;
const device = openDevice({ kind: 'cpu', threads: 1 });
afterAll(() => device.dispose());

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
/** Bytes of all arrays, garbage that was not collected yet included. */
const held = (): number => process.memoryUsage().arrayBuffers;

describe('a run on the CPU', () => {
  it('makes one array for a result, and none for a result that has a place', async () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [size]);
    graph.output('y', neg(x));
    graph.output('z', neg(neg(x)));
    const session = await device.compile(graph.build());
    const feeds = { x: new Float32Array(size).fill(3) };
    const slot = { value: new Float32Array(size) };
    await session.run(feeds, { z: slot });
    collect();
    const before = held();
    const { y, z } = await session.run(feeds, { z: slot });
    expect([y, z].map((value) => (value as Float32Array)[size - 1])).toEqual([-3, 3]);
    expect(z).toBe(slot.value);
    // With the binding's copies it would be 8 bytes more a number, until they are collected.
    expect(held() - before).toBeLessThan(1.5 * 4 * size);
    await session.release();
  });

  it('that fails says so, and the next one has its results', async () => {
    const graph = new Graph();
    const table = graph.input('table', 'float32', [4, 2]);
    graph.output('rows', gatherRows(table, graph.input('index', 'int32', [1])));
    const session = await device.compile(graph.build());
    const feeds = { table: Float32Array.from({ length: 8 }, (_, i) => i) };
    const taken = async (row: number): Promise<unknown> =>
      (await session.run({ ...feeds, index: Int32Array.of(row) }))['rows'];
    await expect(taken(9)).rejects.toThrow(/out of data bounds/);
    expect(await taken(3)).toEqual(Float32Array.of(6, 7));
    await session.release();
  });

  it('refuses results of types that do not cross its boundary', () => {
    expect(() => unfilled('int64', 1)).toThrow('int64');
    expect(unfilled('float64', 3)).toHaveLength(3);
    expect(unfilled('uint8', 3)).toBeInstanceOf(Uint8Array);
  });
});
