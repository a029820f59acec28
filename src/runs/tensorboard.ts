/**
 * TensorBoard event files, scalars only: TFRecord framing (length, masked CRC-32C) around two
 * protobuf messages (`Event`, `Summary`).
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { runFileError } from './atomicFile';

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  // Castagnoli's polynomial, reversed.
  for (let k = 0; k < 8; k += 1) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

/** CRC-32C of the bytes. */
export function crc32c(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = (crcTable[(c ^ byte) & 0xff] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** TFRecord's mask: a CRC over data that holds CRCs would be weak. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

export class TensorBoardWriter {
  readonly #fd: number;
  readonly #file: string;

  /**
   * Begins a new event file; TensorBoard reads all files of a folder as one run, and of doubled
   * steps (after a resume) shows the later.
   */
  constructor(folder: string, now: number = Date.now()) {
    const seconds = Math.floor(now / 1000);
    const name = `events.out.tfevents.${seconds}.${os.hostname()}.${process.pid}`;
    this.#file = path.join(folder, name);
    try {
      mkdirSync(folder, { recursive: true });
      this.#fd = openSync(this.#file, 'a');
    } catch (cause) {
      throw runFileError(cause, this.#file);
    }
    this.#record(event(now, 0, field(3, Buffer.from('brain.Event:2'))));
  }

  /** Adds scalars at a step, e.g. `{ 'train/loss': 1.2 }`. */
  scalars(step: number, values: Readonly<Record<string, number>>, now: number = Date.now()): void {
    const entries = Object.entries(values).map(([tag, value]) => {
      const simpleValue = Buffer.alloc(5);
      simpleValue[0] = (2 << 3) | 5;
      simpleValue.writeFloatLE(value, 1);
      return field(1, Buffer.concat([field(1, Buffer.from(tag)), simpleValue]));
    });
    this.#record(event(now, step, field(5, Buffer.concat(entries))));
  }

  close(): void {
    closeSync(this.#fd);
  }

  #record(data: Buffer): void {
    const frame = Buffer.alloc(12 + data.length + 4);
    frame.writeBigUInt64LE(BigInt(data.length), 0);
    frame.writeUInt32LE(maskedCrc(frame.subarray(0, 8)), 8);
    data.copy(frame, 12);
    frame.writeUInt32LE(maskedCrc(data), 12 + data.length);
    try {
      writeSync(this.#fd, frame);
    } catch (cause) {
      throw runFileError(cause, this.#file);
    }
  }
}

/** `Event { wall_time = 1 (double), step = 2 (int64), file_version = 3 | summary = 5 }`. */
function event(now: number, step: number, what: Buffer): Buffer {
  const wallTime = Buffer.alloc(9);
  wallTime[0] = (1 << 3) | 1;
  wallTime.writeDoubleLE(now / 1000, 1);
  return Buffer.concat([wallTime, Buffer.from([2 << 3]), varint(step), what]);
}

/** A length-delimited field. */
function field(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2]), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
