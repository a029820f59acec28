/** The dense updates of adapted modules: for the explicit residual, merging and export. */
import type { ModuleAdapter } from '../../adapters/adapter';
import { type BuiltGraph, Graph } from '../../graph/graph';
import { type Device, openDevice, type Session } from '../ort/device';
import { hostArray } from '../ort/values';

/** Values of an adapter's tensors by name (`mpo_cores.0`); step 0's where one is missing. */
export type AdapterValues = ReadonlyMap<string, Float32Array>;

/** No adapter tensor has this name. */
const weightName = 'base_weight';

export class DenseDeltas {
  readonly #device: Device;
  /** Modules of equal shapes share a graph. */
  readonly #sessions = new Map<string, Session>();

  /** @param threads 0 = the runtime's choice */
  constructor(threads: number) {
    this.#device = openDevice({ kind: 'cpu', threads });
  }

  /**
   * What the tensors add to the weight that `apply` takes, `[out, in]`.
   * @param weight that weight; only methods whose update depends on it look at it
   */
  async delta(
    adapter: ModuleAdapter,
    weight: Float32Array,
    values: AdapterValues = new Map(),
  ): Promise<Float32Array> {
    const { outFeatures, inFeatures } = adapter.module;
    const key = `${outFeatures}x${inFeatures} ${adapter.signature}`;
    const session = this.#sessions.get(key) ?? (await this.#device.compile(deltaGraph(adapter)));
    this.#sessions.set(key, session);
    const feeds = adapter.tensors.map(
      ({ name, initial }) => [name, values.get(name) ?? initial] as const,
    );
    const results = await session.run({ ...Object.fromEntries(feeds), [weightName]: weight });
    return hostArray(results['delta']) as Float32Array;
  }

  /** `weight - delta(step 0)`, the frozen part of an explicit residual. */
  residual(adapter: ModuleAdapter, weight: Float32Array): Promise<Float32Array> {
    return this.#device.scope(() => this.#residual(adapter, weight));
  }

  async #residual(adapter: ModuleAdapter, weight: Float32Array): Promise<Float32Array> {
    const delta = await this.delta(adapter, weight);
    return weight.map((value, i) => value - (delta[i] as number));
  }

  /**
   * The weight that adapter and pretrained weight make together, `[out, in]`.
   * @param weight the pretrained weight, whatever form the residual has
   */
  merged(
    adapter: ModuleAdapter,
    weight: Float32Array,
    values: AdapterValues,
  ): Promise<Float32Array> {
    return this.#device.scope(async () => {
      const base = adapter.subtractsInitialDelta ? await this.#residual(adapter, weight) : weight;
      const delta = await this.delta(adapter, base, values);
      return base.map((value, i) => value + (delta[i] as number));
    });
  }

  async dispose(): Promise<void> {
    for (const session of this.#sessions.values()) await session.release();
    this.#sessions.clear();
  }
}

function deltaGraph(adapter: ModuleAdapter): BuiltGraph {
  const graph = new Graph();
  const inputs = new Map(
    adapter.tensors.map(({ name, shape }) => [name, graph.input(name, 'float32', shape)]),
  );
  const { outFeatures, inFeatures } = adapter.module;
  const weight = graph.input(weightName, 'float32', [outFeatures, inFeatures]);
  const delta = adapter.delta((name) => {
    const input = inputs.get(name);
    if (!input) throw new Error(`${adapter.module.path} has no tensor "${name}"`);
    return input;
  }, weight);
  graph.output('delta', delta);
  return graph.build();
}
