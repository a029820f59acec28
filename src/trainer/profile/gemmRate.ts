/**
 * How long the matrix products of a step take on their own: the roof that the step is held against.
 */
import { savedValue } from '../../graph/decoder/blockGraphs';
import { type BuiltGraph, Graph, type GraphNode, type Tensor } from '../../graph/graph';
import { slice } from '../../graph/ops/layout';
import { gemm, matmul } from '../../graph/ops/matmul';
import { sizeOf } from '../../graph/shape';
import type { Device, Session } from '../ort/device';
import type { Value } from '../ort/values';

export interface Product {
  node: GraphNode;
  /** Runs a step. */
  count: number;
}

/** A device that counts the products of everything that runs on it. */
export class CountingDevice implements Device {
  readonly kind;
  readonly bufferBytes;
  readonly #inner: Device;
  readonly #products = new Map<string, Product>();
  #savedBytes = 0;
  #lastSavedBytes = 0;

  constructor(inner: Device) {
    this.#inner = inner;
    this.kind = inner.kind;
    this.bufferBytes = inner.bufferBytes;
  }

  async compile(...args: Parameters<Device['compile']>): Promise<Session> {
    const [graph] = args;
    const session = await this.#inner.compile(...args);
    const saves = graph.outputs.some(({ name }) => name.startsWith(savedValue('')));
    const outputBytes = graph.outputs.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
    // Named once: a step runs each graph many times.
    const products = graph.nodes
      .filter(({ op }) => op === 'Gemm' || op === 'MatMul')
      .map((node) => ({ node, key: JSON.stringify([node.op, node.inputShapes, node.attributes]) }));
    return {
      inputs: session.inputs,
      outputs: session.outputs,
      run: (feeds, into) => {
        for (const { node, key } of products) this.#count(key, node);
        if (saves) this.#savedBytes += outputBytes;
        return session.run(feeds, into);
      },
      release: () => session.release(),
    };
  }

  #count(key: string, node: GraphNode): void {
    const known = this.#products.get(key);
    if (known) known.count++;
    else this.#products.set(key, { node, count: 1 });
  }

  upload(...args: Parameters<Device['upload']>): ReturnType<Device['upload']> {
    return this.#inner.upload(...args);
  }

  read(...args: Parameters<Device['read']>): ReturnType<Device['read']> {
    return this.#inner.read(...args);
  }

  free(...args: Parameters<Device['free']>): Promise<void> {
    return this.#inner.free(...args);
  }

  keep(value: Value): void {
    this.#inner.keep(value);
  }

  setAside(...args: Parameters<Device['setAside']>): ReturnType<Device['setAside']> {
    return this.#inner.setAside(...args);
  }

  scope<T>(work: () => Promise<T>): Promise<T> {
    return this.#inner.scope(work);
  }

  memory(): ReturnType<Device['memory']> {
    return this.#inner.memory();
  }

  dispose(): Promise<void> {
    return this.#inner.dispose();
  }

  /** The products since the last call. */
  take(): Product[] {
    const products = [...this.#products.values()];
    this.#products.clear();
    this.#lastSavedBytes = this.#savedBytes;
    this.#savedBytes = 0;
    return products;
  }

  /** Bytes that forward passes kept for backward passes, before the last `take`. */
  takeSavedBytes(): number {
    return this.#lastSavedBytes;
  }
}

export function flops({ node, count }: Product): number {
  const [a, b] = node.inputShapes as [readonly number[], readonly number[]];
  const k = flag(node, 'transA') ? (a.at(-2) as number) : (a.at(-1) as number);
  const n = flag(node, 'transB') ? (b.at(-2) as number) : (b.at(-1) as number);
  // Rows of the product, over all batches after broadcasting.
  const m = flag(node, 'transA') ? (a.at(-1) as number) : (a.at(-2) as number);
  const batches = Math.max(sizeOf(a.slice(0, -2)), sizeOf(b.slice(0, -2)), broadcast(a, b));
  return 2 * m * n * k * batches * count;
}

function broadcast(a: readonly number[], b: readonly number[]): number {
  const rank = Math.max(a.length, b.length) - 2;
  let product = 1;
  for (let i = 1; i <= rank; i++) {
    product *= Math.max(a.at(-2 - i) ?? 1, b.at(-2 - i) ?? 1);
  }
  return product;
}

function flag(node: GraphNode, name: string): boolean {
  return node.attributes.some((a) => a.name === name && 'int' in a && a.int === 1);
}

/**
 * Prepared sessions, one for each distinct product. On the CPU it stands there as often as a step has it: a call
 * for each would cost the list of products what a step, which has dozens of them in a call, does not pay. On a GPU
 * calls are handed over while it computes; what goes in and comes out stays there, as in a step, and a round ends
 * when the GPU has done all of it.
 */
export async function prepareProducts(device: Device, products: readonly Product[]) {
  const stays = device.kind !== 'cpu';
  const prepared: { session: Session; feeds: Record<string, Value>; calls: number }[] = [];
  for (const { node, count } of products) {
    const graph = stays ? wholeProduct(node) : cornersOfProducts(node, count);
    const session = await device.compile(graph, { host: stays ? [] : graphOutputs(graph) });
    // All left operands are one, and all right ones.
    const operands = new Map<string, Value>();
    for (const [i, shape] of node.inputShapes.entries()) {
      const data = new Float32Array(sizeOf(shape)).fill(0.01);
      operands.set(sides[i] as string, await device.upload(data, 'float32', shape));
    }
    const feeds = Object.fromEntries(
      graph.inputs.map(({ name }) => [name, operands.get(name.split('.')[0] as string) as Value]),
    );
    prepared.push({ session, feeds, calls: stays ? count : 1 });
  }
  const last = stays && (await device.upload(new Float32Array(1), 'float32', [1]));
  const run = async ({ session, feeds }: (typeof prepared)[number]): Promise<void> => {
    const results = await session.run(feeds);
    if (stays) await device.free(Object.values(results));
  };
  for (const product of prepared) await run(product);
  if (last) await device.read(last);
  /** Seconds for every product as often as a step runs it. */
  return async (): Promise<number> => {
    const started = performance.now();
    for (const product of prepared) {
      for (let i = 0; i < product.calls; i++) await run(product);
    }
    // What was asked of the GPU is done in that order.
    if (last) await device.read(last);
    return (performance.now() - started) / 1000;
  };
}

function graphOutputs({ outputs }: BuiltGraph): string[] {
  return outputs.map(({ name }) => name);
}

const sides = ['left', 'right'] as const;

/** Of inputs `left.<index>` and `right.<index>`. */
function productIn(graph: Graph, node: GraphNode, index: number): Tensor {
  const [a, b] = node.inputShapes.map((shape, i) =>
    graph.input(`${sides[i]}.${index}`, 'float32', shape),
  ) as [Tensor, Tensor];
  return node.op === 'Gemm'
    ? gemm(a, b, { transposeA: flag(node, 'transA'), transposeB: flag(node, 'transB') })
    : matmul(a, b);
}

function wholeProduct(node: GraphNode): BuiltGraph {
  const graph = new Graph();
  graph.output('product', productIn(graph, node, 0));
  return graph.build();
}

/**
 * So many products, of inputs with names of their own, without which the runtime would compute one of them. One
 * element of each is fetched.
 */
function cornersOfProducts(node: GraphNode, count: number): BuiltGraph {
  const graph = new Graph();
  for (let i = 0; i < count; i++) {
    const product = productIn(graph, node, i);
    const start = product.shape.map(() => 0);
    const corner = slice(
      product,
      start,
      start.map(() => 1),
    );
    graph.output(`corner.${i}`, corner);
  }
  return graph.build();
}
