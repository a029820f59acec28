/** The dense updates of adapted modules: for the explicit residual, merging and export. */
import type { ModuleAdapter, TensorLookup } from '../../adapters/adapter';
import { type BuiltGraph, Graph, type Tensor } from '../../graph/graph';
import { type Device, openDevice, type Session } from '../ort/device';
import { hostArray } from '../ort/values';

/** Values of an adapter's tensors by name (`mpo_cores.0`); step 0's where one is missing. */
export type AdapterValues = ReadonlyMap<string, Float32Array>;

/** A weight with the adapter's change in it. */
export interface MergedWeight {
  /** `[out, in]` */
  values: Float32Array;
  /** What `unmerge` needs beside the adapter (`MergeUndo.kept`); undefined where it needs nothing. */
  kept: Float32Array | undefined;
}

/** No adapter tensor has these names. */
const weightName = 'base_weight';
const keptName = 'kept';

/** What is computed from an adapter's tensors and a weight. */
type Part = 'delta' | 'kept' | 'restored';

export class DenseDeltas {
  readonly #device: Device;
  /** Modules of equal shapes share a graph for each part. */
  readonly #sessions = new Map<string, Session>();

  /** @param threads 0 = the runtime's choice */
  constructor(threads: number) {
    this.#device = openDevice({ kind: 'cpu', threads });
  }

  /**
   * What the tensors add to the weight that `apply` takes, `[out, in]`.
   * @param weight that weight; only methods whose update depends on it look at it
   */
  delta(
    adapter: ModuleAdapter,
    weight: Float32Array,
    values: AdapterValues = new Map(),
  ): Promise<Float32Array> {
    return this.#run('delta', adapter, { [weightName]: weight }, values);
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
   * The weight that adapter and pretrained weight make together.
   * @param weight the pretrained weight, `[out, in]`, whatever form the residual has
   * @param stored how the frozen part is stored (in 4 bits), fp32 to fp32; exactly when absent
   */
  merge(
    adapter: ModuleAdapter,
    weight: Float32Array,
    values: AdapterValues,
    stored: (frozen: Float32Array) => Float32Array = (frozen) => frozen,
  ): Promise<MergedWeight> {
    return this.#device.scope(async () => {
      const base = stored(
        adapter.subtractsInitialDelta ? await this.#residual(adapter, weight) : weight,
      );
      const delta = await this.delta(adapter, base, values);
      const kept =
        adapter.undo && (await this.#run('kept', adapter, { [weightName]: base }, values));
      return {
        values: base.map((value, i) => value + (delta[i] as number)),
        // What the runtime gave is freed with the scope.
        kept: kept?.slice(),
      };
    });
  }

  /**
   * Takes the change out again.
   * @param values those that were merged
   * @returns the weight that was merged into, `[out, in]`: the pretrained one as it was stored
   */
  unmerge(
    adapter: ModuleAdapter,
    { values: merged, kept }: MergedWeight,
    values: AdapterValues,
  ): Promise<Float32Array> {
    return this.#device.scope(async () => {
      const base = kept
        ? await this.#run('restored', adapter, { [weightName]: merged, [keptName]: kept }, values)
        : merged;
      // Without anything kept the change does not look at the weight.
      const change = kept ? undefined : await this.delta(adapter, merged, values);
      const taken = adapter.subtractsInitialDelta ? await this.delta(adapter, merged) : undefined;
      return base.map((value, i) => value - (change?.[i] ?? 0) + (taken?.[i] ?? 0));
    });
  }

  async #run(
    part: Part,
    adapter: ModuleAdapter,
    weights: Readonly<Record<string, Float32Array>>,
    values: AdapterValues,
  ): Promise<Float32Array> {
    const { outFeatures, inFeatures } = adapter.module;
    const key = `${part} ${outFeatures}x${inFeatures} ${adapter.signature}`;
    const session =
      this.#sessions.get(key) ?? (await this.#device.compile(partGraph(adapter, part)));
    this.#sessions.set(key, session);
    const feeds = adapter.tensors.map(
      ({ name, initial }) => [name, values.get(name) ?? initial] as const,
    );
    const results = await session.run({ ...Object.fromEntries(feeds), ...weights });
    return hostArray(results[part]) as Float32Array;
  }

  async dispose(): Promise<void> {
    for (const session of this.#sessions.values()) await session.release();
    this.#sessions.clear();
  }
}

function partGraph(adapter: ModuleAdapter, part: Part): BuiltGraph {
  const graph = new Graph();
  const inputs = new Map(
    adapter.tensors.map(({ name, shape }) => [name, graph.input(name, 'float32', shape)]),
  );
  const { outFeatures, inFeatures } = adapter.module;
  const weight = graph.input(weightName, 'float32', [outFeatures, inFeatures]);
  const tensor: TensorLookup = (name) => {
    const input = inputs.get(name);
    if (!input) throw new Error(`${adapter.module.path} has no tensor "${name}"`);
    return input;
  };
  graph.output(part, partOf(adapter, part, tensor, weight));
  return graph.build();
}

function partOf(adapter: ModuleAdapter, part: Part, tensor: TensorLookup, weight: Tensor): Tensor {
  if (part === 'delta') return adapter.delta(tensor, weight);
  const { undo } = adapter;
  if (!undo) throw new Error(`nothing is kept of ${adapter.module.path}`);
  const kept = undo.kept(tensor, weight);
  if (part === 'kept') return kept;
  // Only its shape counts here: what was kept comes in.
  return undo.restore(tensor, weight, weight.graph.input(keptName, 'float32', kept.shape));
}
