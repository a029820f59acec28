/** ONNX ModelProto out of a list of nodes. Field numbers: onnx/onnx.proto (Apache-2.0). */
import { ProtobufWriter } from './protobuf';
import type { DType } from './dtype';

/** A value of a whole model, whose dimensions may have names instead of sizes. */
export interface NamedValueInfo {
  name: string;
  dtype: DType;
  shape: readonly (number | string)[];
}

export interface ValueInfo extends NamedValueInfo {
  shape: readonly number[];
}

export interface Initializer extends ValueInfo {
  /** Little-endian raw data. */
  bytes: Uint8Array;
}

/** Data in a file beside the model, as ONNX does for what a protobuf of 2 GB cannot hold. */
export interface ExternalInitializer extends ValueInfo {
  file: string;
  /** Bytes. */
  offset: number;
  length: number;
}

export type Attribute =
  | { name: string; int: number }
  | { name: string; float: number }
  | { name: string; string: string }
  | { name: string; ints: readonly number[] };

export interface OnnxNode {
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: readonly Attribute[];
}

export interface OnnxGraph {
  nodes: readonly OnnxNode[];
  inputs: readonly NamedValueInfo[];
  outputs: readonly NamedValueInfo[];
  initializers: readonly (Initializer | ExternalInitializer)[];
}

/** The newest operator set whose kernels the CPU and WebGPU providers of onnxruntime 1.30 share. */
const OPSET = 21;
const IR_VERSION = 10;

/**
 * Operators that the runtime adds to the standard, which both providers have: one pass over the values
 * where the standard's need several. They know no float64.
 */
const RUNTIME_DOMAIN = 'com.microsoft';
const runtimeOperators: ReadonlySet<string> = new Set(['QuickGelu', 'RotaryEmbedding']);

/** TensorProto.DataType */
export const elementType: Record<DType, number> = {
  float32: 1,
  uint8: 2,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
};
/** AttributeProto.AttributeType */
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

function writeAttribute(writer: ProtobufWriter, attribute: Attribute): void {
  writer.string(1, attribute.name);
  if ('int' in attribute) {
    writer.integer(3, attribute.int).integer(20, attributeType.int);
  } else if ('float' in attribute) {
    writer.float(2, attribute.float).integer(20, attributeType.float);
  } else if ('string' in attribute) {
    writer.string(4, attribute.string).integer(20, attributeType.string);
  } else {
    for (const value of attribute.ints) writer.integer(8, value);
    writer.integer(20, attributeType.ints);
  }
}

function writeValueInfo(writer: ProtobufWriter, value: NamedValueInfo): void {
  writer.string(1, value.name).message(2, (type) => {
    type.message(1, (tensor) => {
      tensor.integer(1, elementType[value.dtype]).message(2, (shape) => {
        for (const size of value.shape) {
          shape.message(1, (dim) =>
            typeof size === 'string' ? dim.string(2, size) : dim.integer(1, size),
          );
        }
      });
    });
  });
}

function writeInitializer(
  writer: ProtobufWriter,
  initializer: Initializer | ExternalInitializer,
): void {
  const { name, dtype, shape } = initializer;
  for (const size of shape) writer.integer(1, size);
  writer.integer(2, elementType[dtype]).string(8, name);
  if ('bytes' in initializer) {
    writer.bytes(9, initializer.bytes);
    return;
  }
  const entries = [
    ['location', initializer.file],
    ['offset', String(initializer.offset)],
    ['length', String(initializer.length)],
  ] as const;
  for (const [key, value] of entries) {
    writer.message(13, (entry) => entry.string(1, key).string(2, value));
  }
  // DataLocation.EXTERNAL
  writer.integer(14, 1);
}

/** Serializes a graph; the nodes are in topological order. */
export function encodeModel(graph: OnnxGraph): Uint8Array {
  const model = new ProtobufWriter();
  model.integer(1, IR_VERSION).string(2, 'dota');
  model.message(7, (out) => {
    for (const node of graph.nodes) {
      out.message(1, (writer) => {
        for (const name of node.inputs) writer.string(1, name);
        for (const name of node.outputs) writer.string(2, name);
        writer.string(4, node.op);
        for (const attribute of node.attributes) {
          writer.message(5, (attributeWriter) => writeAttribute(attributeWriter, attribute));
        }
        if (runtimeOperators.has(node.op)) writer.string(7, RUNTIME_DOMAIN);
      });
    }
    out.string(2, 'graph');
    for (const initializer of graph.initializers) {
      out.message(5, (writer) => {
        writeInitializer(writer, initializer);
      });
    }
    for (const value of graph.inputs) out.message(11, (writer) => writeValueInfo(writer, value));
    for (const value of graph.outputs) out.message(12, (writer) => writeValueInfo(writer, value));
  });
  model.message(8, (opset) => opset.string(1, '').integer(2, OPSET));
  if (graph.nodes.some(({ op }) => runtimeOperators.has(op))) {
    model.message(8, (opset) => opset.string(1, RUNTIME_DOMAIN).integer(2, 1));
  }
  return model.finish().slice();
}
