/** Weights in the element types of GGUF. */
import { f16ToF32, f32ToF16 } from '../../models/dtype';
import { DotaError } from '../../protocol/errors';
import { q8BlockSize, type GgufTensorType } from './format';

/**
 * @param values whole rows, for Q8_0 a multiple of 32 values
 * @param name of the tensor, for messages
 * @throws DotaError `train.nonFinite` where a value does not fit the type
 */
export function encodeRows(type: GgufTensorType, values: Float32Array, name: string): Uint8Array {
  switch (type) {
    case 'F32':
      for (const value of values) if (!Number.isFinite(value)) throw notFinite(name, type);
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    case 'F16': {
      const half = f32ToF16(values);
      for (const word of half) if ((word & 0x7c00) === 0x7c00) throw notFinite(name, type);
      return new Uint8Array(half.buffer);
    }
    case 'Q8_0':
      return encodeQ8(values, name);
  }
}

/**
 * Blocks of 32 values: an fp16 scale d = max|x| / 127, then round(x / d) as int8. All arithmetic is
 * in fp32 and halves round away from zero, as ggml's `quantize_row_q8_0_ref` does, so the bytes
 * are the same.
 */
function encodeQ8(values: Float32Array, name: string): Uint8Array {
  const blocks = values.length / q8BlockSize;
  const out = new Uint8Array(blocks * (2 + q8BlockSize));
  const scales = new Float32Array(blocks);
  for (let block = 0; block < blocks; block++) {
    let largest = 0;
    const begin = block * q8BlockSize;
    for (let i = begin; i < begin + q8BlockSize; i++) {
      const size = Math.abs(values[i] as number);
      if (!(size <= largest)) largest = size;
    }
    const scale = Math.fround(largest / 127);
    scales[block] = scale;
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const at = block * (2 + q8BlockSize) + 2;
    for (let i = 0; i < q8BlockSize; i++) {
      const x = Math.fround((values[begin + i] as number) * inverse);
      out[at + i] = x < 0 ? -Math.floor(0.5 - x) : Math.floor(0.5 + x);
    }
  }
  const half = f32ToF16(scales);
  for (let block = 0; block < blocks; block++) {
    const word = half[block] as number;
    if ((word & 0x7c00) === 0x7c00) throw notFinite(name, 'Q8_0');
    out[block * (2 + q8BlockSize)] = word & 0xff;
    out[block * (2 + q8BlockSize) + 1] = word >>> 8;
  }
  return out;
}

/** The values that a reader of the file gets. */
export function decodeRows(type: GgufTensorType, bytes: Uint8Array): Float32Array {
  switch (type) {
    case 'F32':
      return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    case 'F16':
      return f16ToF32(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
    case 'Q8_0':
      return decodeQ8(bytes);
  }
}

function decodeQ8(bytes: Uint8Array): Float32Array {
  const stride = 2 + q8BlockSize;
  const blocks = bytes.length / stride;
  const words = Uint16Array.from({ length: blocks }, (_, block) => {
    const at = block * stride;
    return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
  });
  const scales = f16ToF32(words);
  const out = new Float32Array(blocks * q8BlockSize);
  for (let block = 0; block < blocks; block++) {
    for (let i = 0; i < q8BlockSize; i++) {
      const code = bytes[block * stride + 2 + i] as number;
      out[block * q8BlockSize + i] = (scales[block] as number) * (code < 128 ? code : code - 256);
    }
  }
  return out;
}

function notFinite(name: string, type: GgufTensorType): DotaError {
  return new DotaError('train.nonFinite', `${name} would hold a value that ${type} cannot.`, {
    where: name,
    next: 'Export the merged model in Hugging Face layout, whose type is the base model’s.',
  });
}
