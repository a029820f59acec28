/** Expands checkpoint tensors to fp32. */
import type { RawTensor } from '../../models/modelConfig';
import { DotaError } from '../../protocol/errors';

/**
 * Writes a tensor's values as fp32.
 * @param into as many elements as the tensor has
 */
export function widenInto(tensor: RawTensor, into: Float32Array): void {
  const { data } = tensor;
  switch (tensor.dtype) {
    case 'F32':
    case 'F64':
      into.set(data as Float32Array | Float64Array);
      return;
    case 'BF16':
      widenBfloat16(data as Uint16Array, into);
      return;
    case 'F16':
      widenFloat16(data as Uint16Array, into);
      return;
    case 'I64':
    case 'I32':
    case 'U8':
      throw new DotaError(
        'model.unsupported',
        `A weight of type ${tensor.dtype} cannot be trained on.`,
        {
          next: 'Use a checkpoint with BF16, F16 or F32 weights.',
        },
      );
  }
}

/** bfloat16 is the upper half of a float32. */
function widenBfloat16(words: Uint16Array, into: Float32Array): void {
  const bits = new Uint32Array(into.buffer, into.byteOffset, into.length);
  for (let i = 0; i < words.length; i++) bits[i] = (words[i] as number) << 16;
}

let halfTable: Float32Array | undefined;

/** All 65,536 half-precision values. */
function float16Table(): Float32Array {
  return (halfTable ??= Float32Array.from({ length: 65536 }, (_, word) => {
    const sign = word & 0x8000 ? -1 : 1;
    const exponent = (word >> 10) & 31;
    const fraction = word & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }));
}

function widenFloat16(words: Uint16Array, into: Float32Array): void {
  const table = float16Table();
  for (let i = 0; i < words.length; i++) into[i] = table[words[i] as number] as number;
}
