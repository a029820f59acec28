import { describe, expect, it } from 'vitest';
import { Graph } from '../../../src/graph/graph';
import { matmul } from '../../../src/graph/ops/matmul';
import type { Device, Session } from '../../../src/trainer/ort/device';
import { DeviceTensor } from '../../../src/trainer/ort/deviceTensors';
import type { Value, Values } from '../../../src/trainer/ort/values';
import { prepareProducts, type Product } from '../../../src/trainer/profile/gemmRate';

/** Computes nothing; notes where values are. */
class WatchedDevice implements Device {
  readonly bufferBytes = undefined;
  readonly runs: Values[] = [];
  /** Runs before each wait for the device. */
  readonly waits: number[] = [];
  readonly alive = new Set<Value>();
  /** Elements that came to the host. */
  fetched = 0;

  constructor(readonly kind: Device['kind']) {}

  async compile(...[graph, options]: Parameters<Device['compile']>): Promise<Session> {
    const { inputs, outputs } = graph;
    const run = async (feeds: Values): Promise<Record<string, Value>> => {
      this.runs.push(feeds);
      return Object.fromEntries(
        outputs.map(({ name, dtype, shape }) => {
          if (this.kind === 'webgpu' && options?.host?.includes(name) !== true) {
            return [name, this.#own(new DeviceTensor(dtype, shape))];
          }
          const size = shape.reduce((a, n) => a * n, 1);
          this.fetched += size;
          return [name, new Float32Array(size)];
        }),
      );
    };
    return { inputs, outputs, run, release: () => Promise.resolve() };
  }

  async upload(...[data, dtype, shape]: Parameters<Device['upload']>): Promise<Value> {
    return this.kind === 'cpu' ? data : this.#own(new DeviceTensor(dtype, shape));
  }

  async read(): Promise<Float32Array> {
    this.waits.push(this.runs.length);
    return new Float32Array(1);
  }

  async free(values: Iterable<Value>): Promise<void> {
    for (const value of values) this.alive.delete(value);
  }

  keep(value: Value): void {
    void value;
  }
  setAside(values: Values): () => Values {
    return () => values;
  }

  scope<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }

  memory() {
    return { tensors: this.alive.size, bytes: 0, peakBytes: 0 };
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }

  #own(tensor: DeviceTensor): DeviceTensor {
    this.alive.add(tensor);
    return tensor;
  }
}

function product(count: number, rows: number): Product {
  const graph = new Graph();
  const a = graph.input('a', 'float32', [rows, 3]);
  const b = graph.input('b', 'float32', [3, 4]);
  graph.output('c', matmul(a, b));
  return { node: graph.build().nodes[0]!, count };
}

describe('the rate of a step’s matrix products', () => {
  const products = [product(2, 5), product(3, 6)];

  it('is that of the GPU alone: nothing comes or goes, and it is waited for once a round', async () => {
    const device = new WatchedDevice('webgpu');
    const round = await prepareProducts(device, products);
    const prepared = device.runs.length;
    const before = { waits: device.waits.length, tensors: device.alive.size };
    expect(await round()).toBeGreaterThan(0);
    expect(device.runs).toHaveLength(prepared + 5);
    for (const feeds of device.runs) {
      for (const value of Object.values(feeds)) expect(device.alive).toContain(value);
    }
    expect(device.fetched).toBe(0);
    // At the end, after all of the round.
    expect(device.waits.slice(before.waits)).toEqual([prepared + 5]);
    expect(device.alive.size).toBe(before.tensors);
  });

  it('is taken on the CPU in a call for each distinct product, with one number of each fetched', async () => {
    const device = new WatchedDevice('cpu');
    const round = await prepareProducts(device, products);
    device.fetched = 0;
    device.runs.length = 0;
    await round();
    expect(device.fetched).toBe(5);
    expect(device.waits).toEqual([]);
    expect(device.runs.map((feeds) => Object.keys(feeds).length)).toEqual([2 * 2, 3 * 2]);
    for (const feeds of device.runs) {
      for (const value of Object.values(feeds)) expect(value).toBeInstanceOf(Float32Array);
    }
  });
});
