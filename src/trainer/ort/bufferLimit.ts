/** What a GPU's largest buffer allows: asked before a graph runs, as the runtime itself does not ask. */
import type { DType } from '../../graph/dtype';
import { frozenInput } from '../../graph/decoder/blockGraphs';
import type { BuiltGraph } from '../../graph/graph';
import type { ValueInfo } from '../../graph/onnx';
import { type Shape, sizeOf } from '../../graph/shape';
import { sizeInBuffer, tooLargeForBuffer } from '../../estimate/bufferUse';
import { DotaError } from '../../protocol/errors';

const bytesOf: Readonly<Record<DType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  int32: 4,
  int64: 8,
  uint8: 1,
  bool: 4,
};
/** Values inside a graph are fp32 or int32. */
const bytesInside = 4;
/** Inputs whose size is the model's, whatever the batch. */
const modelInput = /^(frozen\.|part|parameters$|gradient$)/;

/**
 * @throws DotaError `device.outOfMemory` where a tensor of the batch passes the limit, so that fewer
 *   sequences help; `device.unavailable` where one of the model's does
 */
export function checkBuffers({ inputs, outputs, nodes }: BuiltGraph, limit: number): void {
  const declared = new Map(inputs.map(({ name, dtype, shape }) => [name, bytes(dtype, shape)]));
  const inside = nodes.flatMap((node) =>
    node.inputs.map((name, i) => {
      const shape = node.inputShapes[i] ?? [];
      const size = declared.get(name) ?? bytesInside * sizeOf(shape);
      return { shape, size, product: node.op === 'Gemm' || node.op === 'MatMul' };
    }),
  );
  const results = outputs.map(({ dtype, shape }) => ({ shape, size: bytes(dtype, shape) }));
  const largest = [...inside, ...results].reduce((most, next) =>
    next.size > most.size ? next : most,
  );
  if (largest.size <= limit) return;
  const ofModel = inputs.find(
    ({ name, shape }) =>
      // A byte of NF4 holds two numbers.
      modelInput.test(name) &&
      (name.endsWith('.codes') ? 2 : 1) * sizeOf(shape) >= sizeOf(largest.shape),
  );
  if (ofModel) {
    // A matrix is known by the shape that it is multiplied in, whatever it is widened through.
    const matrix = inside.find(({ size, product }) => product && size === largest.size) ?? largest;
    throw tooLargeForBuffer(modelTensor(ofModel, matrix.shape), limit);
  }
  const what = `A tensor ${sizeInBuffer(largest.shape, largest.size, limit)}`;
  throw new DotaError('device.outOfMemory', what, {
    next: 'Compute fewer sequences at once (--micro-batch, auto_find_batch_size) or shorter ones.',
  });
}

/**
 * Weights have their name and perhaps a suffix of their stored form after `frozen.`.
 * @param computed the largest tensor that is made of it, in another shape perhaps
 */
function modelTensor(
  { name, shape }: ValueInfo,
  computed: Shape,
): Parameters<typeof tooLargeForBuffer>[0] {
  const same = sizeOf(shape) === sizeOf(computed);
  const isWeight = name.startsWith(frozenInput(''));
  return {
    weight: isWeight
      ? name.slice(frozenInput('').length).replace(/\.(high|low|codes)$/, '')
      : undefined,
    shape: same ? shape : computed,
  };
}

function bytes(dtype: DType, shape: Shape): number {
  return bytesOf[dtype] * sizeOf(shape);
}
