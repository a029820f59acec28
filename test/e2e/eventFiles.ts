/** Reads TensorBoard's event files by their published format, without the code that writes them. */
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

export interface Scalar {
  tag: string;
  step: number;
  value: number;
}

/** All scalars of a folder's event files, in the order in which they were written. */
export function readScalars(folder: string): Scalar[] {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => [...records(readFileSync(path.join(folder, name)))].flatMap(scalarsOf));
}

/** TFRecord: length (u64), its checksum, the bytes, their checksum. */
function* records(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    check(bytes.subarray(at, at + 8), bytes.readUInt32LE(at + 8));
    check(data, bytes.readUInt32LE(at + 12 + length));
    yield data;
    at += 16 + length;
  }
}

function check(bytes: Buffer, masked: number): void {
  // TFRecord's mask: crc = rotate left by 15 of (masked - 0xa282ead8).
  const rotated = (masked - 0xa282ead8) >>> 0;
  const crc = ((rotated << 15) | (rotated >>> 17)) >>> 0;
  if (crc !== castagnoli(bytes)) throw new Error('An event file has a wrong checksum.');
}

/** CRC-32C bit by bit. */
function castagnoli(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

interface Field {
  number: number;
  /** Of a varint or a fixed32 field. */
  value: number;
  /** Of a length-delimited one. */
  bytes: Buffer;
}

/** The fields of a protobuf message, in its order. */
function fields(message: Buffer): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const field: Field = { number: key >>> 3, value: NaN, bytes: Buffer.alloc(0) };
    switch (key & 7) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.value = message.readDoubleLE(at);
        at += 8;
        break;
      case 2: {
        const length = varint();
        field.bytes = message.subarray(at, at + length);
        at += length;
        break;
      }
      case 5:
        field.value = message.readFloatLE(at);
        at += 4;
        break;
      default:
        throw new Error(`An event has a field of unknown kind ${key & 7}.`);
    }
    found.push(field);
  }
  return found;
}

/** `Event { step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }` */
function scalarsOf(event: Buffer): Scalar[] {
  const all = fields(event);
  const step = all.find((field) => field.number === 2)?.value ?? 0;
  return all
    .filter((field) => field.number === 5)
    .flatMap(({ bytes }) => fields(bytes).filter((field) => field.number === 1))
    .map(({ bytes }) => {
      const value = fields(bytes);
      return {
        tag: value.find((field) => field.number === 1)?.bytes.toString('utf8') ?? '',
        step,
        value: value.find((field) => field.number === 2)?.value ?? NaN,
      };
    });
}
