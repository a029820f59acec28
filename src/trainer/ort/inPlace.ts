/**
 * Results that the runtime writes straight into arrays of ours. Its binding for Node (1.30) writes to arrays
 * that it is given, and then copies each result to one of its own all the same, filled with zeros before:
 * 2 percent of the time of a step with DoTA, 8 with full fine-tuning, 3 to 5 of the memory. The copies are made
 * output by output, and an output that is no tensor ends that with an error, after the graph has run; so every
 * graph begins with one. A version of the binding that hands such an output over makes its copies again, or
 * none: the results are in their places either way.
 */
import type * as ort from 'onnxruntime-node';
import type { DType } from '../../graph/dtype';
import { ProtobufWriter } from '../../graph/protobuf';
import type { HostArray } from './values';

const noTensor = 'no_tensor';
/** Of the binding's error, once the graph has run: `js/node/src/tensor_helper.cc` of onnxruntime. */
const notConverted = 'Non tensor type is temporarily not supported';

/** @param model an encoded ONNX model, which gets one output more, the first: an empty sequence */
export function withNoTensor(model: Uint8Array): Uint8Array {
  // A message that is encoded twice is merged by its reader, lists by appending the second one's.
  const extra = new ProtobufWriter().message(7, (graph) => {
    graph.message(1, (node) => node.string(2, noTensor).string(4, 'SequenceEmpty'));
    graph.message(12, (output) => {
      output.string(1, noTensor).message(2, (type) => {
        type.message(4, (sequence) => {
          sequence.message(1, (element) => element.message(1, (tensor) => tensor.integer(1, 1)));
        });
      });
    });
  });
  return Buffer.concat([extra.finish(), model]);
}

/**
 * @param session of a model `withNoTensor`
 * @param results all other outputs: where they are written
 */
export async function runInPlace(
  session: ort.InferenceSession,
  feeds: Readonly<Record<string, ort.Tensor>>,
  results: Readonly<Record<string, ort.Tensor>>,
): Promise<void> {
  try {
    await session.run(feeds, { [noTensor]: null, ...results });
  } catch (cause) {
    if (!(cause instanceof Error && cause.message.includes(notConverted))) throw cause;
  }
}

/** An array of its own for a result, not filled with zeros. */
export function unfilled(dtype: DType, length: number): HostArray {
  const bytes = (elementBytes: number): ArrayBuffer =>
    Buffer.allocUnsafeSlow(length * elementBytes).buffer as ArrayBuffer;
  switch (dtype) {
    case 'float32':
      return new Float32Array(bytes(4));
    case 'float64':
      return new Float64Array(bytes(8));
    case 'int32':
      return new Int32Array(bytes(4));
    case 'uint8':
      return new Uint8Array(bytes(1));
    case 'float16':
    case 'int64':
    case 'bool':
      throw new Error(`${dtype} doesn't cross a graph's boundary`);
  }
}
