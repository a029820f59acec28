/** Frozen weights on a GPU, as narrow there as they are in the file. */
import { type Nf4Tensor, SCALE_BLOCK } from '../../core/nf4';
import { bytePlanes, type Storage, storedParts } from '../../graph/layers/storedWeight';
import type { Shape } from '../../graph/shape';
import { toFloat32 } from '../../models/dtype';
import type { RawTensor } from '../../models/modelConfig';
import type { Device } from '../ort/device';
import type { HostArray, Value } from '../ort/values';

export interface DeviceWeight {
  storage: Storage;
  /** Values by the suffix of their input's name. */
  parts: readonly { suffix: string; value: Value }[];
}

/** @param weight fp32 values, a tensor in the file's type, or 4-bit codes */
export async function uploadWeight(
  device: Device,
  name: string,
  weight: Float32Array | RawTensor | Nf4Tensor,
  shape: Shape,
): Promise<DeviceWeight> {
  const { storage, arrays } = storedForm(name, weight);
  const parts: { suffix: string; value: Value }[] = [];
  for (const [i, part] of storedParts(shape, storage).entries()) {
    const value = await device.upload(arrays[i] as HostArray, part.dtype, part.shape);
    parts.push({ suffix: part.suffix, value });
  }
  return { storage, parts };
}

/** The arrays of `storedParts`, in their order. */
function storedForm(
  name: string,
  weight: Float32Array | RawTensor | Nf4Tensor,
): { storage: Storage; arrays: HostArray[] } {
  if (weight instanceof Float32Array) return { storage: { form: 'f32' }, arrays: [weight] };
  if ('codes' in weight) return nf4Form(weight);
  switch (weight.dtype) {
    case 'BF16':
    case 'F16': {
      const { high, low } = bytePlanes(weight.data as Uint16Array);
      return { storage: { form: weight.dtype === 'BF16' ? 'bf16' : 'f16' }, arrays: [high, low] };
    }
    case 'F32':
    case 'F64':
    case 'I64':
    case 'I32':
    case 'U8':
      return { storage: { form: 'f32' }, arrays: [toFloat32(weight, name)] };
  }
}

function nf4Form(weight: Nf4Tensor): { storage: Storage; arrays: HostArray[] } {
  const { blockSize, scales } = weight;
  const blocks = Math.ceil(weight.length / blockSize);
  const codes = padded(weight.codes, (blocks * blockSize) / 2);
  if (scales instanceof Float32Array) {
    return { storage: { form: 'nf4', blockSize, doubleQuantized: false }, arrays: [codes, scales] };
  }
  const groups = scales.blockScales.length;
  return {
    storage: { form: 'nf4', blockSize, doubleQuantized: true },
    arrays: [
      codes,
      padded(scales.codes, groups * SCALE_BLOCK),
      scales.blockScales,
      Float32Array.of(scales.offset),
    ],
  };
}

function padded(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  const result = new Uint8Array(length);
  result.set(bytes);
  return result;
}
