/**
 * Builds one ONNX graph: inputs, constants and nodes with static shapes. Operations (./ops) check
 * and infer shapes and attach their gradient rule; `build` drops whatever no output needs.
 */
import type { DType } from './dtype';
import {
  type Attribute,
  encodeModel,
  type Initializer,
  type OnnxNode,
  type ValueInfo,
} from './onnx';
import { RESERVED_PREFIX } from './names';
import { formatShape, type Shape, sizeOf } from './shape';
import { cutIntoStages, type StageOptions } from './stages';

/**
 * The vector-Jacobian product of one operation: given the gradient of the output, the gradients of
 * the inputs, in their order; undefined where the operation isn't differentiable.
 */
export type VectorJacobianProduct = (outputGradient: Tensor) => readonly (Tensor | undefined)[];

export interface Origin {
  readonly inputs: readonly Tensor[];
  readonly vjp: VectorJacobianProduct;
}

/**
 * An immutable handle: which value (by name), its type and static shape, and how gradients flow
 * through it. Two handles may name the same value with different gradient rules; that is how
 * composite operations bring their own derivative.
 */
export interface Tensor {
  readonly graph: Graph;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Creation order within the graph; inputs of an operation have smaller numbers. */
  readonly sequence: number;
  readonly origin: Origin | undefined;
}

export interface BuiltGraph {
  model: Uint8Array;
  /** Inputs that some output depends on; the others are left out of the model. */
  inputs: readonly ValueInfo[];
  outputs: readonly ValueInfo[];
  /** The nodes in order, for tests, diagnostics and counting arithmetic. */
  nodes: readonly GraphNode[];
}

export interface GraphNode extends OnnxNode {
  inputShapes: readonly Shape[];
  inputTypes: readonly DType[];
}

/** What `build` serializes. */
export interface GraphParts {
  nodes: readonly GraphNode[];
  inputs: readonly ValueInfo[];
  outputs: readonly ValueInfo[];
  initializers: readonly Initializer[];
}

export interface NodeOptions {
  attributes?: readonly Attribute[];
  dtype?: DType;
  origin?: Origin;
}

export class Graph {
  readonly #nodes: GraphNode[] = [];
  readonly #inputs = new Map<string, ValueInfo>();
  readonly #outputs: (ValueInfo & { source: string })[] = [];
  readonly #initializers = new Map<string, Initializer>();
  readonly #constants = new Map<string, Tensor>();
  #sequence = 0;

  #handle(name: string, dtype: DType, shape: Shape, origin?: Origin): Tensor {
    return { graph: this, name, dtype, shape, sequence: this.#sequence++, origin };
  }

  /** Declares a graph input. */
  input(name: string, dtype: DType, shape: Shape): Tensor {
    if (name.startsWith(RESERVED_PREFIX) || this.#inputs.has(name)) {
      throw new Error(`graph input "${name}" is reserved or declared twice`);
    }
    this.#inputs.set(name, { name, dtype, shape });
    return this.#handle(name, dtype, shape);
  }

  #constant(dtype: DType, shape: Shape, data: ArrayBufferView): Tensor {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
    const small = bytes.length <= 256;
    const key = `${dtype}${formatShape(shape)}${small ? bytes.join() : `#${this.#sequence}`}`;
    const known = this.#constants.get(key);
    if (known) return known;
    const name = `${RESERVED_PREFIX}c${this.#initializers.size}`;
    this.#initializers.set(name, { name, dtype, shape, bytes });
    const tensor = this.#handle(name, dtype, shape);
    this.#constants.set(key, tensor);
    return tensor;
  }

  /** A floating-point constant; a scalar unless a shape is given. */
  floats(dtype: DType, values: readonly number[], shape: Shape = []): Tensor {
    if (dtype !== 'float32' && dtype !== 'float64') throw new Error(`${dtype} is not a float type`);
    if (values.length !== sizeOf(shape))
      throw new Error(`constant does not fill ${formatShape(shape)}`);
    const data = dtype === 'float32' ? Float32Array.from(values) : Float64Array.from(values);
    return this.#constant(dtype, shape, data);
  }

  /** Constants of int32: indices that are computed with. */
  int32s(values: readonly number[], shape: Shape): Tensor {
    return this.#constant('int32', shape, Int32Array.from(values));
  }

  /** A vector of int64, as ONNX wants shapes and axes. */
  integers(values: readonly number[]): Tensor {
    return this.#constant('int64', [values.length], BigInt64Array.from(values.map(BigInt)));
  }

  /** Zeros, expanded in the graph from a scalar. */
  zeros(dtype: DType, shape: Shape): Tensor {
    return this.node('Expand', [this.floats(dtype, [0]), this.integers(shape)], shape, { dtype });
  }

  /**
   * Appends a node with one output.
   * @param shape the output's shape, which the caller has inferred
   */
  node(op: string, inputs: readonly Tensor[], shape: Shape, options: NodeOptions = {}): Tensor {
    const output = this.#handle(
      `${RESERVED_PREFIX}n${this.#sequence}`,
      options.dtype ?? (inputs[0] as Tensor).dtype,
      shape,
      options.origin,
    );
    if (inputs.some((tensor) => tensor.graph !== this))
      throw new Error(`${op}: tensor of another graph`);
    this.#nodes.push({
      op,
      inputs: inputs.map((tensor) => tensor.name),
      outputs: [output.name],
      attributes: options.attributes ?? [],
      inputShapes: inputs.map((tensor) => tensor.shape),
      inputTypes: inputs.map((tensor) => tensor.dtype),
    });
    return output;
  }

  /** The same value with another gradient rule (none: gradients stop here). */
  withOrigin(tensor: Tensor, origin?: Origin): Tensor {
    return this.#handle(tensor.name, tensor.dtype, tensor.shape, origin);
  }

  /** Declares a graph output. */
  output(name: string, tensor: Tensor): void {
    const taken = this.#inputs.has(name) || this.#outputs.some((known) => known.name === name);
    if (name.startsWith(RESERVED_PREFIX) || taken) {
      throw new Error(`graph output "${name}" is reserved or declared twice`);
    }
    this.#outputs.push({ name, dtype: tensor.dtype, shape: tensor.shape, source: tensor.name });
  }

  /**
   * Drops dead nodes, constants and inputs, and serializes. Of a node's inputs the runtime computes
   * first the one that was created last (its order is a depth-first search backwards from the outputs,
   * by index), so what is made of weights alone gets the smallest indices: a weight's sum with its
   * change is then formed right before its product and is gone after it, and does not lie there from
   * the beginning.
   * @param isWeight which inputs are weights
   */
  build(isWeight: (input: string) => boolean = () => false): BuiltGraph {
    return encode(weightsFirst(this.#parts(), isWeight));
  }

  /** The same in stages that run one after the other; see `cutIntoStages`. */
  buildStages(options: StageOptions): BuiltGraph[] {
    return cutIntoStages(this.#parts(), options).map((stage) =>
      encode(weightsFirst(stage, options.isWeight)),
    );
  }

  #parts(): GraphParts {
    const needed = new Set(this.#outputs.map((output) => output.source));
    const live: GraphNode[] = [];
    for (const node of this.#nodes.toReversed()) {
      if (!node.outputs.some((name) => needed.has(name))) continue;
      live.push(node);
      for (const name of node.inputs) needed.add(name);
    }
    return {
      nodes: this.#nameOutputs(live.reverse()),
      inputs: [...this.#inputs.values()].filter(({ name }) => needed.has(name)),
      outputs: this.#outputs.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
      initializers: [...this.#initializers.values()].filter(({ name }) => needed.has(name)),
    };
  }

  /**
   * Gives each output its public name: the producing node's value is renamed, so that the runtime
   * computes it in the caller's buffer; inputs and values that serve two outputs take an Identity.
   */
  #nameOutputs(nodes: readonly GraphNode[]): GraphNode[] {
    const produced = new Set(nodes.flatMap((node) => node.outputs));
    const publicNames = new Map<string, string>();
    const copies: GraphNode[] = [];
    for (const { name, source, shape, dtype } of this.#outputs) {
      if (produced.has(source) && !publicNames.has(source)) {
        publicNames.set(source, name);
      } else {
        const from = publicNames.get(source) ?? source;
        copies.push({
          op: 'Identity',
          inputs: [from],
          outputs: [name],
          attributes: [],
          inputShapes: [shape],
          inputTypes: [dtype],
        });
      }
    }
    const rename = (name: string): string => publicNames.get(name) ?? name;
    return [
      ...nodes.map((node) => ({
        ...node,
        inputs: node.inputs.map(rename),
        outputs: node.outputs.map(rename),
      })),
      ...copies,
    ];
  }
}

function encode(parts: GraphParts): BuiltGraph {
  const { nodes, inputs, outputs } = parts;
  return { model: encodeModel(parts), inputs, outputs, nodes };
}

function weightsFirst(parts: GraphParts, isWeight: (input: string) => boolean): GraphParts {
  const known = new Set([
    ...parts.inputs.map(({ name }) => name).filter(isWeight),
    ...parts.initializers.map(({ name }) => name),
  ]);
  const first: GraphNode[] = [];
  const rest: GraphNode[] = [];
  for (const node of parts.nodes) {
    if (node.inputs.every((name) => known.has(name))) {
      first.push(node);
      for (const name of node.outputs) known.add(name);
    } else rest.push(node);
  }
  return { ...parts, nodes: [...first, ...rest] };
}
