/**
 * GGUF version 3 as bytes: metadata and the directory of tensors. Formula source: `docs/gguf.md` of
 * the ggml project; all numbers are little-endian.
 */
import { DotaError } from '../../protocol/errors';

/** Alignment of tensor data in bytes, the format's default. */
export const ggufAlignment = 32;

export type GgufValue =
  | { type: 'u32'; value: number }
  | { type: 'f32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'i32s'; value: readonly number[] }
  | { type: 'f32s'; value: readonly number[] };

/** Element types of tensors that this program writes. */
export type GgufTensorType = 'F32' | 'F16' | 'Q8_0';

export interface GgufTensor {
  name: string;
  type: GgufTensorType;
  /** As in PyTorch, outermost first; the file holds them the other way round. */
  shape: readonly number[];
}

/** Values of one quantised block, which share a scale. */
export const q8BlockSize = 32;

const typeCodes = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;
const tensorCodes: Readonly<Record<GgufTensorType, number>> = { F32: 0, F16: 1, Q8_0: 8 };

/** Bytes of a tensor's data without the padding behind it. */
export function tensorBytes({ type, shape }: GgufTensor): number {
  const elements = shape.reduce((product, n) => product * n, 1);
  switch (type) {
    case 'F32':
      return 4 * elements;
    case 'F16':
      return 2 * elements;
    case 'Q8_0':
      return (elements / q8BlockSize) * (2 + q8BlockSize);
  }
}

/** Blanks that follow `bytes` bytes up to the next aligned position. */
export function padding(bytes: number): Uint8Array {
  return new Uint8Array((ggufAlignment - (bytes % ggufAlignment)) % ggufAlignment);
}

/**
 * All bytes before the first tensor's data, aligned.
 * @throws DotaError `internal` when a row of a quantised tensor is not made of whole blocks
 */
export function encodeHeader(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensor[],
): Uint8Array {
  const out = new Bytes();
  out.ascii('GGUF');
  out.u32(3);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.string(key);
    encodeValue(out, value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    if (tensor.type === 'Q8_0' && (tensor.shape.at(-1) ?? 0) % q8BlockSize !== 0) {
      throw new DotaError('internal', `${tensor.name} has rows of no whole blocks.`);
    }
    out.string(tensor.name);
    out.u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) out.u64(size);
    out.u32(tensorCodes[tensor.type]);
    out.u64(offset);
    const bytes = tensorBytes(tensor);
    offset += bytes + padding(bytes).length;
  }
  out.append(padding(out.length));
  return out.finish();
}

function encodeValue(out: Bytes, item: GgufValue): void {
  const array = (code: number, length: number): void => {
    out.u32(typeCodes.array);
    out.u32(code);
    out.u64(length);
  };
  switch (item.type) {
    case 'u32':
      out.u32(typeCodes.u32);
      out.u32(item.value);
      return;
    case 'f32':
      out.u32(typeCodes.f32);
      out.f32(item.value);
      return;
    case 'bool':
      out.u32(typeCodes.bool);
      out.append(Uint8Array.of(item.value ? 1 : 0));
      return;
    case 'string':
      out.u32(typeCodes.string);
      out.string(item.value);
      return;
    case 'strings':
      array(typeCodes.string, item.value.length);
      for (const text of item.value) out.string(text);
      return;
    case 'i32s':
      array(typeCodes.i32, item.value.length);
      for (const value of item.value) out.i32(value);
      return;
    case 'f32s':
      array(typeCodes.f32, item.value.length);
      for (const value of item.value) out.f32(value);
      return;
  }
}

/** A growing byte string; a vocabulary of 150,000 tokens makes half a million appends. */
class Bytes {
  length = 0;
  private buffer = Buffer.alloc(1 << 16);

  ascii(text: string): void {
    this.append(Buffer.from(text, 'latin1'));
  }

  string(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    this.u64(bytes.length);
    this.append(bytes);
  }

  u32(value: number): void {
    this.reserve(4).writeUInt32LE(value, this.length - 4);
  }

  i32(value: number): void {
    this.reserve(4).writeInt32LE(value, this.length - 4);
  }

  f32(value: number): void {
    this.reserve(4).writeFloatLE(value, this.length - 4);
  }

  u64(value: number): void {
    this.reserve(8).writeBigUInt64LE(BigInt(value), this.length - 8);
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length).set(bytes, this.length - bytes.length);
  }

  finish(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }

  private reserve(bytes: number): Buffer {
    const needed = this.length + bytes;
    if (needed > this.buffer.length) {
      const larger = Buffer.alloc(Math.max(needed, 2 * this.buffer.length));
      larger.set(this.buffer.subarray(0, this.length));
      this.buffer = larger;
    }
    this.length = needed;
    return this.buffer;
  }
}
