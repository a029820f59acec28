/**
 * NF4 (QLoRA, arXiv 2305.14314): 4-bit codes of a table whose entries are quantiles of the normal
 * distribution, one scale (the absolute maximum) a block of 64 weights, and optionally the scales
 * themselves in 8 bits (double quantisation): 4.127 bits a weight. Layout as in bitsandbytes: the
 * tensor flattened row-major, two codes a byte, the even index in the high nibble.
 */

import { dynamicMap, midpoints, nearestCode } from './dynamicMap';
import { KERNEL_BLOCK, nf4Kernel } from './nf4Kernel';

/** The sixteen NF4 values (published table, float32). */
export const NF4_VALUES = Float32Array.of(
  -1.0,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0.0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1.0,
);

const ZERO_CODE = 7;

/** Scales in 8 bits: `scale[b] = offset + value(codes[b]) * blockScales[floor(b / 256)]`. */
export interface DoubleQuantizedScales {
  codes: Uint8Array;
  /** Mean of all scales, subtracted first. */
  offset: number;
  /** Largest absolute deviation in each block of `SCALE_BLOCK` scales. */
  blockScales: Float32Array;
}

export interface Nf4Tensor {
  /** Number of weights; odd lengths leave the last low nibble unused. */
  length: number;
  blockSize: number;
  codes: Uint8Array;
  scales: Float32Array | DoubleQuantizedScales;
}

/** Scales that share one second-level scale. */
export const SCALE_BLOCK = 256;

const nf4Thresholds = midpoints(NF4_VALUES);
/** What the codes of 8-bit scales stand for, before their group's scale. */
export const scaleValues = dynamicMap(true);
const scaleThresholds = midpoints(scaleValues);

/** Quantises the block scales to 8 bits. */
function quantizeScales(scales: Float32Array): DoubleQuantizedScales {
  let sum = 0;
  for (const scale of scales) sum += scale;
  const offset = Math.fround(sum / Math.max(1, scales.length));
  const codes = new Uint8Array(scales.length);
  const blockScales = new Float32Array(Math.ceil(scales.length / SCALE_BLOCK));
  for (let block = 0; block < blockScales.length; block++) {
    const start = block * SCALE_BLOCK;
    const end = Math.min(scales.length, start + SCALE_BLOCK);
    let largest = 0;
    for (let b = start; b < end; b++) {
      largest = Math.max(largest, Math.abs((scales[b] as number) - offset));
    }
    blockScales[block] = largest;
    for (let b = start; b < end; b++) {
      const x = largest === 0 ? 0 : ((scales[b] as number) - offset) / largest;
      codes[b] = nearestCode(scaleThresholds, x);
    }
  }
  return { codes, offset, blockScales };
}

/** The scale of block `b`, whichever way scales are stored. */
function scaleOf(scales: Nf4Tensor['scales'], b: number): number {
  if (scales instanceof Float32Array) return scales[b] as number;
  const { codes, offset, blockScales } = scales;
  const value = scaleValues[codes[b] as number] as number;
  return Math.fround(offset + value * (blockScales[Math.floor(b / SCALE_BLOCK)] as number));
}

/** The block scales in fp32. */
export function expandScales(scales: Nf4Tensor['scales']): Float32Array {
  if (scales instanceof Float32Array) return scales;
  const out = new Float32Array(scales.codes.length);
  for (let b = 0; b < out.length; b++) out[b] = scaleOf(scales, b);
  return out;
}

/**
 * Quantises weights to NF4.
 * @param weights row-major values of one tensor; must be finite
 * @param blockSize weights that share a scale, even
 * @param doubleQuantization store the scales in 8 bits
 */
export function quantizeNf4(
  weights: Float32Array,
  blockSize = 64,
  doubleQuantization = true,
): Nf4Tensor {
  const blocks = Math.ceil(weights.length / blockSize);
  const exact = new Float32Array(blocks);
  for (let b = 0; b < blocks; b++) {
    const end = Math.min(weights.length, (b + 1) * blockSize);
    let largest = 0;
    for (let i = b * blockSize; i < end; i++) {
      largest = Math.max(largest, Math.abs(weights[i] as number));
    }
    exact[b] = largest;
  }
  const codes = new Uint8Array(Math.ceil(weights.length / 2));
  for (let i = 0; i < weights.length; i++) {
    const scale = exact[Math.floor(i / blockSize)] as number;
    const code =
      scale === 0 ? ZERO_CODE : nearestCode(nf4Thresholds, (weights[i] as number) / scale);
    const byte = i >> 1;
    codes[byte] = (codes[byte] as number) | (i % 2 === 0 ? code << 4 : code);
  }
  const scales = doubleQuantization ? quantizeScales(exact) : exact;
  return { length: weights.length, blockSize, codes, scales };
}

/**
 * Expands to fp32 into a buffer that the caller reuses.
 * @param out at least `tensor.length` long
 */
export function dequantizeNf4(tensor: Nf4Tensor, out: Float32Array): void {
  const { codes, blockSize, length, scales } = tensor;
  // This runs for every matrix, twice a step.
  const widen = blockSize === KERNEL_BLOCK ? nf4Kernel(NF4_VALUES) : undefined;
  const whole = widen === undefined ? 0 : Math.floor(length / KERNEL_BLOCK);
  widen?.(codes, (b) => scaleOf(scales, b), whole, out);
  dequantizePlain(tensor, out, whole);
}

/** The same without WebAssembly, from a block on. */
export function dequantizePlain(
  { codes, blockSize, length, scales }: Nf4Tensor,
  out: Float32Array,
  fromBlock = 0,
): void {
  // Sixteen products a block, no array a block.
  const scaled = new Float32Array(NF4_VALUES.length);
  for (let b = fromBlock, start = b * blockSize; start < length; b++, start += blockSize) {
    const scale = scaleOf(scales, b);
    for (let code = 0; code < scaled.length; code++) {
      scaled[code] = scale * (NF4_VALUES[code] as number);
    }
    const end = Math.min(length, start + blockSize);
    // Blocks are even, so a block starts at a whole byte.
    for (let i = start; i + 1 < end; i += 2) {
      const byte = codes[i >> 1] as number;
      out[i] = scaled[byte >> 4] as number;
      out[i + 1] = scaled[byte & 15] as number;
    }
    if ((end - start) % 2 === 1) {
      out[end - 1] = scaled[(codes[(end - 1) >> 1] as number) >> 4] as number;
    }
  }
}

/** Bytes that the tensor takes in memory and in a file. */
export function nf4Bytes(tensor: Nf4Tensor): number {
  const { scales } = tensor;
  const scaleBytes =
    scales instanceof Float32Array
      ? scales.byteLength
      : scales.codes.byteLength + scales.blockScales.byteLength + 4;
  return tensor.codes.byteLength + scaleBytes;
}
