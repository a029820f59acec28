/** The matrix products of a graph, without everything else that it does. */
import { type BuiltGraph, Graph, type GraphNode, type Tensor } from '../../graph/graph';
import { reshape } from '../../graph/ops/broadcast';
import { slice, transposeLast } from '../../graph/ops/layout';
import { gemm, matmul } from '../../graph/ops/matmul';
import { broadcastShapes, dimension, sameShape, type Shape, sizeOf } from '../../graph/shape';

export interface ProductGraphs {
  /** The products in the graph's order; of each one element is an output. */
  products: BuiltGraph;
  /** The same inputs, of which as many elements are outputs, and no product. */
  without: BuiltGraph;
}

/**
 * A product's operand is the result of a product where it is one in the graph, however reshaped, and else an
 * input: every tensor that products read has memory of its own, as in the graph.
 * @param readsTransposed whether the runtime reads the operands of a batched product transposed, where the
 *   graph has them transposed before
 * @returns undefined when the graph has no products
 */
export function productGraphs(
  built: BuiltGraph,
  readsTransposed: boolean,
): ProductGraphs | undefined {
  const graph = new Graph();
  const operands = new Operands(graph, built, readsTransposed);
  let count = 0;
  for (const node of built.nodes) {
    if (!isProduct(node)) continue;
    const [a, b] = node.inputs.map((name) => operands.of(name)) as [Tensor, Tensor];
    const product =
      node.op === 'Gemm'
        ? gemm(a, b, { transposeA: flag(node, 'transA'), transposeB: flag(node, 'transB') })
        : matmul(a, b);
    operands.add(node.outputs[0] as string, product);
    graph.output(`element.${count++}`, element(product, 0));
  }
  if (count === 0) return undefined;
  const products = graph.build();
  return { products, without: elementsOf(products.inputs, count) };
}

/** As many elements of inputs as there are products, no two the same, and one of each at least. */
function elementsOf(inputs: BuiltGraph['inputs'], count: number): BuiltGraph {
  const graph = new Graph();
  const tensors = inputs.map(({ name, dtype, shape }) => graph.input(name, dtype, shape));
  for (let i = 0; i < Math.max(count, tensors.length); i++) {
    const tensor = tensors[i % tensors.length] as Tensor;
    graph.output(`element.${i}`, element(tensor, Math.floor(i / tensors.length)));
  }
  return graph.build();
}

/** @param index along the last axis, which it may pass: then it is that of an earlier element */
function element(tensor: Tensor, index: number): Tensor {
  const last = tensor.shape.length - 1;
  const start = tensor.shape.map((size, axis) => (axis === last ? index % size : 0));
  return slice(
    tensor,
    start,
    start.map((first) => first + 1),
  );
}

/** The operands of products, by the names that a graph has for them. */
class Operands {
  readonly #graph: Graph;
  readonly #readsTransposed: boolean;
  readonly #tensors = new Map<string, Tensor>();
  readonly #producers = new Map<string, GraphNode>();
  readonly #shapes = new Map<string, Shape>();

  constructor(graph: Graph, built: BuiltGraph, readsTransposed: boolean) {
    this.#graph = graph;
    this.#readsTransposed = readsTransposed;
    for (const node of built.nodes) {
      for (const name of node.outputs) this.#producers.set(name, node);
      node.inputs.forEach((name, i) => this.#shapes.set(name, node.inputShapes[i] as Shape));
    }
  }

  add(name: string, tensor: Tensor): void {
    this.#tensors.set(name, tensor);
  }

  of(name: string): Tensor {
    const known = this.#tensors.get(name);
    if (known) return known;
    const producer = this.#producers.get(name);
    const shape = this.#shapes.get(name) as Shape;
    let tensor: Tensor;
    if (producer?.op === 'Reshape') tensor = reshape(this.of(producer.inputs[0] as string), shape);
    else if (this.#readsTransposed && producer && isTransposeOfLast(producer))
      tensor = transposeLast(this.of(producer.inputs[0] as string));
    else tensor = this.#graph.input(`operand.${this.#tensors.size}`, 'float32', shape);
    this.#tensors.set(name, tensor);
    return tensor;
  }
}

function isProduct({ op }: GraphNode): boolean {
  return op === 'Gemm' || op === 'MatMul';
}

/** Of more than a matrix: a matrix is transposed by an attribute of its product. */
function isTransposeOfLast({ op, attributes }: GraphNode): boolean {
  if (op !== 'Transpose') return false;
  const order = attributes.flatMap((attribute) => ('ints' in attribute ? attribute.ints : []));
  const rank = order.length;
  const swapped = [...order.keys()];
  swapped.splice(-2, 2, rank - 1, rank - 2);
  return rank > 2 && sameShape(order, swapped);
}

function flag(node: GraphNode, name: string): boolean {
  return node.attributes.some((a) => a.name === name && 'int' in a && a.int === 1);
}

/** Floating-point operations of the graph's products: a multiplication and an addition for each term. */
export function productFlops({ nodes }: BuiltGraph): number {
  return nodes.filter(isProduct).reduce((sum, node) => sum + flopsOf(node), 0);
}

function flopsOf(node: GraphNode): number {
  const [a, b] = node.inputShapes as [Shape, Shape];
  const k = dimension(a, flag(node, 'transA') ? -2 : -1);
  const n = dimension(b, flag(node, 'transB') ? -2 : -1);
  // Rows of the product, over all batches after broadcasting.
  const m = dimension(a, flag(node, 'transA') ? -1 : -2);
  return 2 * m * n * k * sizeOf(broadcastShapes(a.slice(0, -2), b.slice(0, -2)));
}
