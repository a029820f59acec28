import { bf16ToF32, f16ToF32 } from '../../models/dtype';
import type { RawTensor } from '../../models/modelConfig';
import { DotaError } from '../../protocol/errors';

/**
 * Writes a checkpoint tensor's values as fp32.
 * @param into as many elements as the tensor has
 * @throws DotaError `model.unsupported` for an integer type
 */
export function widenInto(tensor: RawTensor, into: Float32Array): void {
  switch (tensor.dtype) {
    case 'F32':
    case 'F64':
      into.set(tensor.data as Float32Array | Float64Array);
      return;
    case 'BF16':
      bf16ToF32(tensor.data as Uint16Array, into);
      return;
    case 'F16':
      f16ToF32(tensor.data as Uint16Array, into);
      return;
    case 'I64':
    case 'I32':
    case 'U8':
      throw new DotaError(
        'model.unsupported',
        `A weight of type ${tensor.dtype} cannot be trained on.`,
        {
          next: 'Use a checkpoint whose weights are F32, F16 or BF16.',
        },
      );
  }
}
