/** The dense update of one adapted module: for the explicit residual, merging and export. */
import type { ModuleAdapter } from '../../adapters/adapter';
import { Graph } from '../../graph/graph';
import { openDevice } from '../ort/device';

/**
 * `[out, in]` in fp32.
 * @param values the adapter's tensors by name (`mpo_cores.0`); initial values where one is missing
 */
export async function moduleDelta(
  adapter: ModuleAdapter,
  values: ReadonlyMap<string, Float32Array>,
): Promise<Float32Array> {
  const graph = new Graph();
  const inputs = new Map(
    adapter.tensors.map(({ name, shape }) => [name, graph.input(name, 'float32', shape)]),
  );
  const delta = adapter.delta((name) => {
    const input = inputs.get(name);
    if (!input) throw new Error(`${adapter.module.path} has no tensor "${name}"`);
    return input;
  });
  graph.output('delta', delta);
  const session = await openDevice({ kind: 'cpu', threads: 0 }).compile(graph.build());
  try {
    const feeds = adapter.tensors.map(
      ({ name, initial }) => [name, values.get(name) ?? initial] as const,
    );
    const results = await session.run(Object.fromEntries(feeds));
    return results['delta'] as Float32Array;
  } finally {
    await session.release();
  }
}

export function initialDelta(adapter: ModuleAdapter): Promise<Float32Array> {
  return moduleDelta(adapter, new Map());
}

/**
 * The weight that adapter and pretrained weight make together, `[out, in]`.
 * @param weight the pretrained weight, whatever form the residual has
 */
export async function mergedWeight(
  adapter: ModuleAdapter,
  weight: Float32Array,
  values: ReadonlyMap<string, Float32Array>,
): Promise<Float32Array> {
  const delta = await moduleDelta(adapter, values);
  const initial = adapter.subtractsInitialDelta ? await initialDelta(adapter) : undefined;
  return weight.map((value, i) => value - (initial?.[i] ?? 0) + (delta[i] as number));
}
