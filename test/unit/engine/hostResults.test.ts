/** Memory of the CPU's results: given back at once and without the collector's help. */
import { afterAll, describe, expect, it } from 'vitest';
import { Graph } from '../../../src/graph/graph';
import { add } from '../../../src/graph/ops/elementwise';
import { openDevice } from '../../../src/trainer/ort/device';
import type { HostArray } from '../../../src/trainer/ort/values';

const size = 2 ** 20;
const device = openDevice({ kind: 'cpu', threads: 1 });
afterAll(() => device.dispose());

function doubled() {
  const graph = new Graph();
  const x = graph.input('x', 'float32', [size]);
  graph.output('y', add(x, x));
  return graph.build();
}

const held = (): number => process.memoryUsage().arrayBuffers;

describe('results on the CPU', () => {
  it('lose their memory at the end of their scope', async () => {
    const session = await device.compile(doubled());
    const x = new Float32Array(size).fill(1);
    const before = held();
    const results: HostArray[] = [];
    await device.scope(async () => {
      for (let i = 0; i < 4; i++) {
        const { y } = await session.run({ x });
        results.push(y as HostArray);
      }
      expect(results.map((y) => y[size - 1])).toEqual([2, 2, 2, 2]);
      // Arrays of the setup may be collected meanwhile.
      expect(held() - before).toBeGreaterThan(3 * 4 * size);
      await device.free(results.slice(0, 2));
      expect(results.map((y) => y.length)).toEqual([0, 0, size, size]);
    });
    expect(results.map((y) => y.length)).toEqual([0, 0, 0, 0]);
    expect(held() - before).toBeLessThan(size);
    await session.release();
  });

  it('are kept where they go to the host, and so is what was uploaded or lies in a slot', async () => {
    const session = await device.compile(doubled(), { host: ['y'] });
    const placed = await device.compile(doubled());
    const x = new Float32Array(size).fill(1);
    const slot = { value: new Float32Array(size) };
    const before = held();
    const y = await device.scope(async () => {
      await placed.run({ x }, { y: slot });
      const results = await session.run({ x });
      await device.free([x, slot.value]);
      return results['y'] as HostArray;
    });
    expect([x[0], slot.value[0], y[0]]).toEqual([1, 2, 2]);
    // The binding's copy of what was written to the slot is gone as well.
    expect(held() - before).toBeLessThan(4 * size + size);
    await Promise.all([session.release(), placed.release()]);
  });
});
