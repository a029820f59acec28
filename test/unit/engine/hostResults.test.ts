/** Memory of the CPU's results: given back at once and without the collector's help. */
import { afterAll, describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { Graph } from '../../../src/graph/graph';
import { add } from '../../../src/graph/ops/elementwise';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { openDevice } from '../../../src/trainer/ort/device';
import type { HostArray } from '../../../src/trainer/ort/values';
import { randomBatch, tinyConfig } from './tiny';

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
/** Bytes that the collector weighs. */
const weighed = (): number => process.memoryUsage().external;

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
    // What was written to the slot has no copy.
    expect(held() - before).toBeLessThan(4 * size + size);
    await Promise.all([session.release(), placed.release()]);
  });

  it('outlive their scope where they are kept', async () => {
    const session = await device.compile(doubled());
    const x = new Float32Array(size).fill(1);
    const y = await device.scope(async () => {
      const results = await session.run({ x });
      device.keep(results['y']!);
      return results['y'] as HostArray;
    });
    expect([y.length, y[size - 1]]).toEqual([size, 2]);
    await session.release();
  });

  it('are out of the heap while they are set aside, and come back once', async () => {
    const session = await device.compile(doubled());
    const x = new Float32Array(size).fill(1);
    const before = weighed();
    const allocated = held();
    const other = Float32Array.of(7);
    const left: HostArray[] = [];
    await device.scope(async () => {
      const { y } = await session.run({ x });
      const takeBack = device.setAside({ y: y as HostArray, other });
      expect((y as HostArray).length).toBe(0);
      expect(weighed() - before).toBeLessThan(size);
      const back = takeBack();
      expect(back['other']).toBe(other);
      const values = back['y'] as HostArray;
      expect([values.length, values[0], values[size - 1]]).toEqual([size, 2, 2]);
      // Two at a time, in the other order than they were set aside.
      const { y: second } = await session.run({ x: values as Float32Array });
      const takers = [values, second as HostArray].map((array) => device.setAside({ array }));
      const firsts = takers.toReversed().map((take) => (take()['array'] as HostArray)[0]);
      expect(firsts).toEqual([4, 2]);
      const { y: third } = await session.run({ x });
      left.push(third as HostArray);
      device.setAside({ third: third as HostArray });
    });
    // What nobody took back, when a step was broken off, is gone with its scope.
    expect(held() - allocated).toBeLessThan(size);
    expect(left[0]?.length).toBe(0);
    await session.release();
  });
});

describe('what a block saves for its backward pass', () => {
  it('is set aside until then', async () => {
    const config = { ...tinyConfig, numLayers: 4 };
    const batch = randomBatch(config, Array<number>(64).fill(64));
    let atHead = Infinity;
    const engine = await createEngine({
      config,
      weights: randomWeights(config, 3),
      adapters: fullPlan,
      device,
      threads: 1,
      onBlock: ({ phase, layer }) => {
        if (phase === 'backward' && layer === config.numLayers - 1) atHead = weighed();
      },
    });
    await engine.forwardBackward(batch, 1);
    const before = weighed();
    await engine.forwardBackward(batch, 1);
    const tokens = batch.batchSize * batch.sequenceLength;
    const { hiddenSize, intermediateSize, numLayers } = config;
    // Each block's input, output of attention, and the two halves of the gated activation, among others.
    const saved = 4 * tokens * (2 * hiddenSize + 2 * intermediateSize) * numLayers;
    expect(atHead - before).toBeLessThan(saved / 2);
    await engine.dispose();
  });
});
