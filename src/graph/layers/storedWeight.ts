/**
 * Frozen weights in the form they are stored in, widened to fp32 inside the graph that uses them, by
 * lookups that every adapter can run: no 16-bit type and no bit operation is needed.
 *
 * A 16-bit float is two bytes, stored in two planes:
 * - bfloat16 (1 sign, 8 exponent, 7 mantissa bits): the high byte holds the sign and seven exponent
 *   bits, the low byte the last exponent bit and the mantissa, so the value is a product of two
 *   table entries, `high[h] * low[l]`, exactly; below 2^-125 it is taken as 0.
 * - float16 (1, 5, 10): the high byte holds sign, exponent and two mantissa bits, the low byte the
 *   other eight, so the value is `base[h] + step[h] * l`, exactly.
 * NF4 is two codes a byte: a table of 256 pairs, times the scale of each block.
 */
import { NF4_VALUES, SCALE_BLOCK, scaleValues } from '../../core/nf4';
import type { Graph, Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add, cast, mul } from '../ops/elementwise';
import { lookUp } from '../ops/indexing';
import { slice } from '../ops/layout';
import { type Shape, sizeOf } from '../shape';

/** How one frozen tensor lies in memory. */
export type Storage =
  | { form: 'f32' }
  | { form: 'bf16' | 'f16' }
  | { form: 'nf4'; blockSize: number; doubleQuantized: boolean };

export interface StoredPart {
  /** Suffix of the input's name; empty where the tensor is a single input. */
  suffix: string;
  dtype: 'float32' | 'uint8';
  shape: Shape;
}

/** The inputs that hold a tensor of this shape. */
export function storedParts(shape: Shape, storage: Storage): StoredPart[] {
  switch (storage.form) {
    case 'f32':
      return [{ suffix: '', dtype: 'float32', shape }];
    case 'bf16':
    case 'f16':
      return ['.high', '.low'].map((suffix) => ({ suffix, dtype: 'uint8', shape }));
    case 'nf4': {
      const blocks = nf4Blocks(shape, storage.blockSize);
      const pairs = (blocks * storage.blockSize) / 2;
      const codes: StoredPart = { suffix: '.codes', dtype: 'uint8', shape: [pairs] };
      if (!storage.doubleQuantized) {
        return [codes, { suffix: '.scales', dtype: 'float32', shape: [blocks, 1] }];
      }
      const groups = Math.ceil(blocks / SCALE_BLOCK);
      return [
        codes,
        { suffix: '.scale_codes', dtype: 'uint8', shape: [groups, SCALE_BLOCK] },
        { suffix: '.group_scales', dtype: 'float32', shape: [groups, 1] },
        { suffix: '.offset', dtype: 'float32', shape: [1] },
      ];
    }
  }
}

/** Everything about the storage that a compiled graph depends on. */
export function storageSignature(storage: Storage): string {
  return storage.form === 'nf4'
    ? `nf4/${storage.blockSize}/${storage.doubleQuantized}`
    : storage.form;
}

/**
 * Declares a stored tensor's inputs and widens it.
 * @param select applied to each part of a matrix before it is widened, to pick rows of a table
 * @returns `[...shape]` in fp32, or what `select` makes of it
 */
export function storedWeight(
  graph: Graph,
  name: string,
  shape: Shape,
  storage: Storage,
  select: (part: Tensor) => Tensor = (part) => part,
): Tensor {
  const parts = storedParts(shape, storage).map((part) =>
    graph.input(name + part.suffix, part.dtype, part.shape),
  );
  switch (storage.form) {
    case 'f32':
      return select(parts[0] as Tensor);
    case 'bf16': {
      const [high, low] = parts.map((part) => cast(select(part), 'int32')) as [Tensor, Tensor];
      return mul(
        lookUp(graph.floats('float32', bfloatHigh(), [256]), high),
        lookUp(graph.floats('float32', bfloatLow(), [256]), low),
      );
    }
    case 'f16': {
      const [high, low] = parts.map((part) => cast(select(part), 'int32')) as [Tensor, Tensor];
      const base = lookUp(graph.floats('float32', halfTable('base'), [256]), high);
      const step = lookUp(graph.floats('float32', halfTable('step'), [256]), high);
      return add(base, mul(step, cast(low, 'float32')));
    }
    case 'nf4':
      return select(widenNf4(graph, parts, shape, storage.blockSize));
  }
}

function widenNf4(graph: Graph, parts: Tensor[], shape: Shape, blockSize: number): Tensor {
  const [codes, ...scaleParts] = parts as [Tensor, ...Tensor[]];
  const blocks = nf4Blocks(shape, blockSize);
  const table = graph.floats('float32', nf4Pairs(), [256, 2]);
  const values = reshape(lookUp(table, cast(codes, 'int32')), [blocks, blockSize]);
  const flat = reshape(mul(values, blockScales(graph, scaleParts, blocks)), [blocks * blockSize]);
  return reshape(slice(flat, [0], [sizeOf(shape)]), shape);
}

/** The last block may be filled up. */
function nf4Blocks(shape: Shape, blockSize: number): number {
  return Math.ceil(sizeOf(shape) / blockSize);
}

/** `[blocks, 1]` */
function blockScales(graph: Graph, parts: readonly Tensor[], blocks: number): Tensor {
  const [first, groupScales, offset] = parts as [Tensor, Tensor?, Tensor?];
  if (!groupScales || !offset) return first;
  const table = graph.floats('float32', [...scaleValues], [256]);
  const scales = add(mul(lookUp(table, cast(first, 'int32')), groupScales), offset);
  // The last group is filled up with codes that mean nothing.
  return reshape(slice(reshape(scales, [sizeOf(scales.shape)]), [0], [blocks]), [blocks, 1]);
}

/** Splits 16-bit words into their bytes. */
export function bytePlanes(words: Uint16Array): { high: Uint8Array; low: Uint8Array } {
  const high = new Uint8Array(words.length);
  const low = new Uint8Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as number;
    high[i] = word >> 8;
    low[i] = word & 255;
  }
  return { high, low };
}

function signed(byte: number, magnitude: number): number {
  return byte < 128 ? magnitude : -magnitude;
}

/** 2^(e - 127) for the exponent's first seven bits; 0 for the numbers that would be denormal. */
function bfloatHigh(): number[] {
  return Array.from({ length: 256 }, (_, byte) => {
    const exponent = (byte & 127) * 2;
    return signed(byte, exponent === 0 ? 0 : 2 ** (exponent - 127));
  });
}

function bfloatLow(): number[] {
  return Array.from({ length: 256 }, (_, byte) => (byte < 128 ? 1 : 2) * (1 + (byte & 127) / 128));
}

function halfTable(entry: 'base' | 'step'): number[] {
  return Array.from({ length: 256 }, (_, byte) => {
    const exponent = (byte >> 2) & 31;
    const fraction = (byte & 3) / 4;
    // Denormal numbers have the smallest exponent and no leading one.
    const unit = 2 ** (Math.max(exponent, 1) - 15);
    const leading = exponent === 0 ? 0 : 1;
    return signed(byte, entry === 'base' ? unit * (leading + fraction) : unit / 1024);
  });
}

/** The two values of each byte: the high nibble first. */
function nf4Pairs(): number[] {
  return Array.from({ length: 256 }, (_, byte) => [
    NF4_VALUES[byte >> 4] as number,
    NF4_VALUES[byte & 15] as number,
  ]).flat();
}
