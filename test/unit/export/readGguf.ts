/** A reader of GGUF for the tests, written from the format's description alone. */

export interface ReadTensor {
  /** As in the file: innermost first. */
  shape: number[];
  type: number;
  data: Uint8Array;
}

export function readGguf(bytes: Buffer): {
  metadata: Map<string, unknown>;
  tensors: Map<string, ReadTensor>;
} {
  let at = 0;
  const u32 = (): number => bytes.readUInt32LE((at += 4) - 4);
  const u64 = (): number => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const string = (): string => {
    const length = u64();
    return bytes.toString('utf8', at, (at += length));
  };
  const value = (type: number): unknown => {
    switch (type) {
      case 4:
        return u32();
      case 5:
        return bytes.readInt32LE((at += 4) - 4);
      case 6:
        return bytes.readFloatLE((at += 4) - 4);
      case 7:
        return bytes.readUInt8((at += 1) - 1) === 1;
      case 8:
        return string();
      case 9: {
        const element = u32();
        return Array.from({ length: u64() }, () => value(element));
      }
      default:
        throw new Error(`type ${type}`);
    }
  };
  if (bytes.toString('latin1', 0, 4) !== 'GGUF') throw new Error('no GGUF');
  at = 4;
  if (u32() !== 3) throw new Error('version');
  const [tensorCount, keyCount] = [u64(), u64()];
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < keyCount; i++) metadata.set(string(), value(u32()));
  const entries = Array.from({ length: tensorCount }, () => {
    const name = string();
    const shape = Array.from({ length: u32() }, () => u64());
    return { name, shape, type: u32(), offset: u64() };
  });
  const start = Math.ceil(at / 32) * 32;
  const tensors = new Map<string, ReadTensor>();
  for (const { name, shape, type, offset } of entries) {
    if (offset % 32 !== 0) throw new Error(`${name} is not aligned`);
    const elements = shape.reduce((a, b) => a * b, 1);
    const size = type === 8 ? (elements / 32) * 34 : elements * (type === 0 ? 4 : 2);
    const data = new Uint8Array(bytes.subarray(start + offset, start + offset + size));
    if (data.length !== size) throw new Error(`${name} is truncated`);
    tensors.set(name, { shape, type, data });
  }
  return { metadata, tensors };
}
