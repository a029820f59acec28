/**
 * How long the matrix products of a step take on their own: the roof that the step is held against.
 */
import type { BuiltGraph } from '../../graph/graph';
import { formatShape, sizeOf } from '../../graph/shape';
import type { Device, Session } from '../ort/device';
import type { Value, Values } from '../ort/values';
import { productGraphs } from './productGraph';

/** What the products take is the time of `products` less that of `without`. */
export interface ProductRuns {
  /** Runs the calls of a step in their order, with nothing in them but products. */
  products: () => Promise<void>;
  /** As many calls, with the same inputs and as many outputs, and no product. */
  without: () => Promise<void>;
}

interface Call {
  session: Session;
  feeds: Values;
}

/**
 * Prepares the products of a step. On a GPU calls are handed over while it computes; what goes in and comes out
 * stays there, as in a step, and a run ends when the GPU has done all of it.
 * @param graphs as the step runs them
 */
export async function prepareProducts(
  device: Device,
  graphs: readonly BuiltGraph[],
): Promise<ProductRuns> {
  const stays = device.kind !== 'cpu';
  const operands = new SharedOperands(device);
  const compile = async (graph: BuiltGraph): Promise<Call> => {
    const host = stays ? [] : graph.outputs.map(({ name }) => name);
    return { session: await device.compile(graph, { host }), feeds: await operands.of(graph) };
  };
  const compiled = new Map<BuiltGraph, { products: Call; without: Call }>();
  for (const graph of new Set(graphs)) {
    // The CPU's products read their operands transposed.
    const pair = productGraphs(graph, device.kind === 'cpu');
    if (!pair) continue;
    const products = await compile(pair.products);
    compiled.set(graph, { products, without: await compile(pair.without) });
  }
  const calls = graphs.flatMap((graph) => compiled.get(graph) ?? []);
  const last = stays && (await device.upload(new Float32Array(1), 'float32', [1]));
  const run = async (kind: keyof ProductRuns): Promise<void> => {
    for (const { [kind]: call } of calls) {
      const results = await call.session.run(call.feeds);
      if (stays) await device.free(Object.values(results));
    }
    // What was asked of the GPU is done in that order.
    if (last) await device.read(last);
  };
  const runs = { products: () => run('products'), without: () => run('without') };
  // The first run of a session prepares more.
  await runs.products();
  await runs.without();
  return runs;
}

/** Operands that have memory of their own within a graph; graphs, which run one after the other, share them. */
class SharedOperands {
  readonly #device: Device;
  readonly #known = new Map<string, Value>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** @returns a value for each input */
  async of(graph: BuiltGraph): Promise<Values> {
    const sameBefore = new Map<string, number>();
    const values: Record<string, Value> = {};
    for (const { name, dtype, shape } of graph.inputs) {
      const kind = formatShape(shape);
      const index = sameBefore.get(kind) ?? 0;
      sameBefore.set(kind, index + 1);
      const key = `${kind} ${index}`;
      let value = this.#known.get(key);
      if (value === undefined) {
        value = await this.#device.upload(new Float32Array(sizeOf(shape)).fill(0.01), dtype, shape);
        this.#known.set(key, value);
      }
      values[name] = value;
    }
    return values;
  }
}
