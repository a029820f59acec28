/** Runs one adapted linear layer, forward and backward, with given values of its tensors. */
import type { ModuleAdapter } from '../../../src/adapters/adapter';
import { gradients } from '../../../src/graph/gradients';
import { Graph } from '../../../src/graph/graph';
import { runGraph } from '../graph/harness';

export interface LayerRun {
  /** `[tokens, in]` */
  x: Float32Array;
  /** Gradient of the output, `[tokens, out]`. */
  g: Float32Array;
  /** What the adapter's `apply` takes for a weight. */
  weight: Float32Array;
  tokens: number;
  /** By name; step 0's where one is missing. */
  values: ReadonlyMap<string, Float32Array>;
}

/** @returns `y` and `grad_<name>` of every trainable tensor */
export async function runLayer(
  adapter: ModuleAdapter,
  { x, g, weight, tokens, values }: LayerRun,
): Promise<Record<string, Float32Array>> {
  const { outFeatures, inFeatures } = adapter.module;
  const graph = new Graph();
  const input = graph.input('x', 'float32', [tokens, inFeatures]);
  const w = graph.input('w', 'float32', [outFeatures, inFeatures]);
  const inputs = new Map(
    adapter.tensors.map((t) => [t.name, graph.input(t.name, 'float32', t.shape)]),
  );
  const y = adapter.apply(input, w, (tensor) => inputs.get(tensor)!);
  const seed = graph.input('g', 'float32', [tokens, outFeatures]);
  graph.output('y', y);
  const names = adapter.tensors.filter((t) => t.trainable).map((t) => t.name);
  gradients(
    [{ output: y, gradient: seed }],
    names.map((name) => inputs.get(name)!),
  ).forEach((gradient, i) => graph.output(`grad_${names[i]!}`, gradient));
  const feeds = adapter.tensors.map(({ name, initial }) => [name, values.get(name) ?? initial]);
  return (await runGraph(graph, { x, g, w: weight, ...Object.fromEntries(feeds) })) as Record<
    string,
    Float32Array
  >;
}
