import { describe, expect, it } from 'vitest';
import { type BuiltGraph, Graph } from '../../../src/graph/graph';
import { neg } from '../../../src/graph/ops/elementwise';
import { matmul } from '../../../src/graph/ops/matmul';
import type { Device, Session } from '../../../src/trainer/ort/device';
import { DeviceTensor } from '../../../src/trainer/ort/deviceTensors';
import type { Value, Values } from '../../../src/trainer/ort/values';
import { prepareProducts } from '../../../src/trainer/profile/gemmRate';

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

/** @param widths of products of `[rows, 3]`, one for each, beside something that is none */
function graphOf(rows: number, ...widths: number[]): BuiltGraph {
  const graph = new Graph();
  widths.forEach((width, i) => {
    const a = graph.input(`a${i}`, 'float32', [rows, 3]);
    const b = graph.input(`b${i}`, 'float32', [3, width]);
    graph.output(`c${i}`, neg(matmul(a, b)));
  });
  return graph.build();
}

describe('the rate of a step’s matrix products', () => {
  const [two, one] = [graphOf(5, 4, 4), graphOf(5, 4)];
  const nothing = (() => {
    const graph = new Graph();
    graph.output('y', neg(graph.input('x', 'float32', [3])));
    return graph.build();
  })();
  const step = [two, one, nothing, two];
  const inputsOf = (runs: readonly Values[]) => runs.map((feeds) => Object.keys(feeds).length);

  it.each(['products', 'without'] as const)(
    'is that of the GPU alone (%s): nothing comes or goes, and it is waited for once',
    async (kind) => {
      const device = new WatchedDevice('webgpu');
      const runs = await prepareProducts(device, step);
      const tensors = device.alive.size;
      device.runs.length = device.waits.length = 0;
      await runs[kind]();
      expect(inputsOf(device.runs)).toEqual([4, 2, 4]);
      for (const feeds of device.runs) {
        for (const value of Object.values(feeds)) expect(device.alive).toContain(value);
      }
      expect(device.fetched).toBe(0);
      // At the end, after all calls.
      expect(device.waits).toEqual([3]);
      expect(device.alive.size).toBe(tensors);
    },
  );

  it.each(['products', 'without'] as const)(
    'is taken on the CPU in the calls of the step (%s), of which few numbers are fetched',
    async (kind) => {
      const device = new WatchedDevice('cpu');
      const runs = await prepareProducts(device, step);
      device.fetched = device.runs.length = 0;
      await runs[kind]();
      expect(inputsOf(device.runs)).toEqual([4, 2, 4]);
      // One of each product; without products one of each input at least.
      expect(device.fetched).toBe(kind === 'products' ? 2 + 1 + 2 : 4 + 2 + 4);
      expect(device.waits).toEqual([]);
      const [first, second] = device.runs.map((feeds) => Object.values(feeds)) as [
        Value[],
        Value[],
      ];
      expect(new Set(first).size).toBe(4);
      // The next graph's lie where those of the one before it did.
      for (const value of second) expect(first).toContain(value);
    },
  );
});
