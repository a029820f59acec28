/**
 * The header of a safetensors file: 8 bytes of length (u64, little endian), then JSON, then the
 * tensors' bytes without gap or overlap. Rules of the reference implementation, plus own caps.
 * Format: https://github.com/huggingface/safetensors
 */
import { DotaError } from '../../protocol/errors';
import { decodeUtf8 } from '../files';
import { asObject, parseStrictJson } from '../strictJson';

/** A hundred times what the largest published checkpoints need, and far below what hurts. */
export const headerLimits = {
  bytes: 32 * 1024 * 1024,
  tensors: 200_000,
  rank: 8,
  nameLength: 1024,
} as const;

/** Bits an element; everything else (sub-byte types among them) is refused. */
const dtypeBits: ReadonlyMap<string, number> = new Map([
  ['BOOL', 8],
  ['U8', 8],
  ['I8', 8],
  ['F8_E5M2', 8],
  ['F8_E4M3', 8],
  ['I16', 16],
  ['U16', 16],
  ['F16', 16],
  ['BF16', 16],
  ['I32', 32],
  ['U32', 32],
  ['F32', 32],
  ['F64', 64],
  ['I64', 64],
  ['U64', 64],
]);

export interface TensorEntry {
  dtype: string;
  shape: readonly number[];
  /** Byte range relative to the end of the header. */
  begin: number;
  end: number;
}

export interface SafetensorsHeader {
  /** In file order. */
  tensors: ReadonlyMap<string, TensorEntry>;
  metadata: ReadonlyMap<string, string>;
}

/**
 * Parses and checks the JSON part of a header.
 * @param bytes the header without its length prefix
 * @param dataBytes bytes that follow the header in the file
 * @param where file name for messages
 * @throws DotaError `file.malformed`; `model.unsupported` for an unknown element type
 */
export function parseHeader(
  bytes: Uint8Array,
  dataBytes: number,
  where: string,
): SafetensorsHeader {
  const text = decodeUtf8(bytes, where);
  if (!text.startsWith('{')) throw malformed('the header is not a JSON object', where);
  const root = asObject(
    parseStrictJson(text, where, {
      maxDepth: 4,
      maxKeys: headerLimits.tensors * 4 + 10_000,
      onlyIntegers: true,
    }),
  );
  if (root === undefined) throw malformed('the header is not a JSON object', where);

  let metadata: ReadonlyMap<string, string> = new Map();
  const entries: [string, TensorEntry][] = [];
  for (const [name, value] of Object.entries(root)) {
    if (name === '__metadata__') metadata = parseMetadata(value, where);
    else entries.push([name, parseEntry(name, value, where)]);
    if (entries.length > headerLimits.tensors) {
      throw malformed(`more than ${headerLimits.tensors} tensors`, where);
    }
  }
  entries.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  checkLayout(entries, dataBytes, where);
  return { tensors: new Map(entries), metadata };
}

function malformed(problem: string, where: string): DotaError {
  return new DotaError('file.malformed', `Not a valid safetensors file: ${problem}.`, {
    where,
    next: 'Download the file again.',
  });
}

function parseMetadata(value: unknown, where: string): ReadonlyMap<string, string> {
  // The reference implementation reads null as absent.
  if (value === null) return new Map();
  const object = asObject(value);
  if (object === undefined) throw malformed('__metadata__ is not an object', where);
  const map = new Map<string, string>();
  for (const [key, text] of Object.entries(object)) {
    if (typeof text !== 'string') throw malformed('__metadata__ holds a non-string', where);
    map.set(key, text);
  }
  return map;
}

function parseEntry(name: string, value: unknown, where: string): TensorEntry {
  if (name.length > headerLimits.nameLength) throw malformed('a tensor name is too long', where);
  if (/\p{Surrogate}/u.test(name)) throw malformed('a tensor name is not valid Unicode', where);
  const shown = JSON.stringify(name);
  const object = asObject(value);
  if (object === undefined) throw malformed(`the entry of ${shown} is not an object`, where);
  for (const key of Object.keys(object)) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
      throw malformed(`the entry of ${shown} has the unknown key ${JSON.stringify(key)}`, where);
    }
  }
  const { dtype } = object;
  if (typeof dtype !== 'string') throw malformed(`${shown} has no dtype`, where);
  const bits = dtypeBits.get(dtype);
  if (bits === undefined) {
    throw new DotaError(
      'model.unsupported',
      `Tensor ${shown} has element type ${JSON.stringify(dtype.slice(0, 40))}.`,
      { where, next: `Supported types: ${[...dtypeBits.keys()].join(', ')}.` },
    );
  }
  const shape = integers(object['shape']);
  if (shape === undefined || shape.length > headerLimits.rank) {
    throw malformed(`${shown} has no valid shape`, where);
  }
  const offsets = integers(object['data_offsets']);
  const [begin, end] = offsets ?? [];
  if (offsets?.length !== 2 || begin === undefined || end === undefined || end < begin) {
    throw malformed(`${shown} has no valid data_offsets`, where);
  }
  let expected = bits / 8;
  for (const n of shape) {
    expected *= n;
    // Checked at each step: a later 0 must not hide an overflow.
    if (!Number.isSafeInteger(expected)) throw malformed(`the shape of ${shown} overflows`, where);
  }
  if (expected !== end - begin) {
    throw malformed(
      `${shown} takes ${end - begin} bytes, its shape [${shape.join(', ')}] of ${dtype} ${expected}`,
      where,
    );
  }
  return { dtype, shape, begin, end };
}

function integers(value: unknown): number[] | undefined {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0)
    ? (value as number[])
    : undefined;
}

function checkLayout(
  sorted: readonly [string, TensorEntry][],
  dataBytes: number,
  where: string,
): void {
  let position = 0;
  for (const [name, entry] of sorted) {
    if (entry.begin !== position) {
      const what =
        entry.begin < position ? 'overlaps the tensor before it' : 'leaves a gap before it';
      throw malformed(`${JSON.stringify(name)} ${what}`, where);
    }
    position = entry.end;
  }
  if (position > dataBytes) {
    throw new DotaError(
      'file.malformed',
      `The file is truncated: its header describes ${position} bytes of tensors, ${dataBytes} are there.`,
      { where, next: 'Download the file again.' },
    );
  }
  if (position < dataBytes) {
    throw malformed(`${dataBytes - position} bytes follow the last tensor`, where);
  }
}
