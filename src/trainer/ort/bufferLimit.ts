/** What a GPU's largest buffer allows: asked before a graph runs, as the runtime itself does not ask. */
import type { DType } from '../../graph/dtype';
import { frozenInput } from '../../graph/decoder/blockGraphs';
import type { BuiltGraph } from '../../graph/graph';
import type { ValueInfo } from '../../graph/onnx';
import { type Shape, sizeOf } from '../../graph/shape';
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
      return { shape, size: declared.get(name) ?? bytesInside * sizeOf(shape) };
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
  const mb = (size: number): string => `${(size / 2 ** 20).toFixed(1)} MiB`;
  const what =
    `${ofModel ? described(ofModel) : 'A tensor'} [${largest.shape.join(', ')}] takes ` +
    `${mb(largest.size)} as it is computed with; the largest buffer of this GPU has ${mb(limit)}.`;
  if (ofModel) {
    const all = /^(parameters|gradient)$/.test(ofModel.name);
    throw new DotaError('device.unavailable', what, {
      next:
        (all ? 'Train an adapter instead of all weights, set ' : 'Set ') +
        '"device": "cpu", or take a GPU with larger buffers ("dota doctor" shows them).',
    });
  }
  throw new DotaError('device.outOfMemory', what, {
    next: 'Compute fewer sequences at once (--micro-batch, auto_find_batch_size) or shorter ones.',
  });
}

/** Weights have their name and perhaps a suffix of their stored form after `frozen.`. */
function described({ name }: ValueInfo): string {
  if (!name.startsWith(frozenInput(''))) return 'The vector of what is trained at once';
  const weight = name.slice(frozenInput('').length).replace(/\.(high|low|codes)$/, '');
  return `The weight "${weight}"`;
}

function bytes(dtype: DType, shape: Shape): number {
  return bytesOf[dtype] * sizeOf(shape);
}
