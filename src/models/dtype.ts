/**
 * Element types of safetensors and their conversion to and from fp32. Weights stay in the file's
 * type; these functions widen one tensor at a time and narrow it again for an export.
 */
import { DotaError } from '../protocol/errors';
import type { RawTensor, WeightDtype } from './modelConfig';

/** Bytes an element. */
export const elementBytes: Readonly<Record<WeightDtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  U8: 1,
};

export type FloatDtype = 'F64' | 'F32' | 'F16' | 'BF16';

export function isFloatDtype(dtype: WeightDtype): dtype is FloatDtype {
  return dtype === 'F64' || dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

/** A typed array of the type that holds `dtype` in memory (16-bit floats as raw words). */
export function viewAs(dtype: WeightDtype, buffer: ArrayBuffer): RawTensor['data'] {
  switch (dtype) {
    case 'F64':
      return new Float64Array(buffer);
    case 'F32':
      return new Float32Array(buffer);
    case 'F16':
    case 'BF16':
      return new Uint16Array(buffer);
    case 'I64':
      return new BigInt64Array(buffer);
    case 'I32':
      return new Int32Array(buffer);
    case 'U8':
      return new Uint8Array(buffer);
  }
}

/** A bfloat16 is the upper half of an fp32, so widening is a shift. */
export function bf16ToF32(
  source: Uint16Array,
  target: Float32Array = new Float32Array(source.length),
): Float32Array {
  const bits = new Uint32Array(target.buffer, target.byteOffset, source.length);
  for (let i = 0; i < source.length; i++) bits[i] = (source[i] as number) << 16;
  return target;
}

/** Rounds to nearest, ties to even; NaN stays a (quiet) NaN, overflow becomes infinity. */
export function f32ToBf16(
  source: Float32Array,
  target: Uint16Array = new Uint16Array(source.length),
): Uint16Array {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < source.length; i++) {
    const word = bits[i] as number;
    // Adding 0x7fff plus the lowest kept bit carries exactly where the value rounds up.
    target[i] =
      (word & 0x7fffffff) > 0x7f800000
        ? (word >>> 16) | 0x0040
        : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return target;
}

/** Bits of the fp32 that equals the half-precision number with these bits. */
function halfBitsToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // Subnormal: shift the leading one to the implicit place.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

let halfTable: Uint32Array | undefined;

/** Widens by a table of all 65,536 values: twice as fast as bit arithmetic an element. */
export function f16ToF32(
  source: Uint16Array,
  target: Float32Array = new Float32Array(source.length),
): Float32Array {
  halfTable ??= Uint32Array.from({ length: 65536 }, (_, half) => halfBitsToFloatBits(half));
  const bits = new Uint32Array(target.buffer, target.byteOffset, source.length);
  for (let i = 0; i < source.length; i++) bits[i] = halfTable[source[i] as number] as number;
  return target;
}

/** Rounds to nearest, ties to even; values beyond 65,504 become infinity as in IEEE 754. */
export function f32ToF16(
  source: Float32Array,
  target: Uint16Array = new Uint16Array(source.length),
): Uint16Array {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < source.length; i++) target[i] = floatBitsToHalfBits(bits[i] as number);
  return target;
}

function floatBitsToHalfBits(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65,520 is half way to the first value out of range and rounds (to even) up.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // At most half of the smallest subnormal (2^-25): rounds to zero.
  if (magnitude <= 0x33000000) return sign;
  const shift = 126 - (magnitude >>> 23);
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const half = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  const up = rest > middle || (rest === middle && (half & 1) === 1);
  return sign | (half + (up ? 1 : 0));
}

/**
 * The tensor's values as fp32, in a new array unless the tensor already is F32.
 * @throws DotaError `model.unsupported` for an integer type
 */
export function toFloat32(tensor: RawTensor, name = 'tensor'): Float32Array {
  if (tensor.dtype === 'F32') return tensor.data as Float32Array;
  const values = new Float32Array(tensor.data.length);
  widenInto(tensor, values, name);
  return values;
}

/**
 * Writes the tensor's values as fp32.
 * @param into as many elements as the tensor has
 * @throws DotaError `model.unsupported` for an integer type
 */
export function widenInto(tensor: RawTensor, into: Float32Array, name = 'tensor'): void {
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
      throw new DotaError('model.unsupported', `${name} has element type ${tensor.dtype}.`, {
        next: 'Use a checkpoint whose weights are F32, F16 or BF16.',
      });
  }
}

/** Narrows fp32 values to a file type, to nearest even. */
export function fromFloat32(dtype: FloatDtype, data: Float32Array): RawTensor['data'] {
  switch (dtype) {
    case 'F32':
      return data;
    case 'F64':
      return Float64Array.from(data);
    case 'BF16':
      return f32ToBf16(data);
    case 'F16':
      return f32ToF16(data);
  }
}
