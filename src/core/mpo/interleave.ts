/**
 * The order of a matrix's entries as an MPO sees them: T[(i_1, j_1), .., (i_n, j_n)], against
 * W[i, j]. Both flat indices are sums of one term a digit, so two small tables replace index
 * arithmetic over the entries.
 */
import { pairSizes, product } from './shapes';
import type { MpoShape, Orientation } from './types';

/**
 * Where each row (or column) index lands in T: `T[rows[i] + cols[j]] = W[i, j]`. Only the first
 * `size` indices are tabled; padded ones have no entry.
 */
export function legOffsets(shape: MpoShape, side: 'rows' | 'cols', size: number): Int32Array {
  const factors = shape[side];
  const n = factors.length;
  const strides = new Array<number>(n).fill(0);
  let tail = 1;
  for (let k = n - 1; k >= 0; k--) {
    const j = shape.cols[k] ?? 1;
    strides[k] = side === 'rows' ? tail * j : tail;
    tail *= (shape.rows[k] ?? 1) * j;
  }
  const offsets = new Int32Array(size);
  for (let index = 0; index < size; index++) {
    let rest = index;
    let offset = 0;
    for (let k = n - 1; k >= 0; k--) {
      const f = factors[k] ?? 1;
      offset += (rest % f) * (strides[k] ?? 0);
      rest = (rest - (rest % f)) / f;
    }
    offsets[index] = offset;
  }
  return offsets;
}

/** Offsets for a weight `[outFeatures, inFeatures]`: `T[out[o] + in[i]] = W[o, i]`. */
export function weightOffsets(
  shape: MpoShape,
  outFeatures: number,
  inFeatures: number,
  orientation: Orientation,
): { out: Int32Array; in: Int32Array } {
  return orientation === 'out'
    ? { out: legOffsets(shape, 'rows', outFeatures), in: legOffsets(shape, 'cols', inFeatures) }
    : { out: legOffsets(shape, 'cols', outFeatures), in: legOffsets(shape, 'rows', inFeatures) };
}

/**
 * A weight `[outFeatures, inFeatures]` row by row, in fp32: lets a file's own type be widened on the
 * way, without a second copy of the matrix. The returned array may be reused by the next call.
 */
export interface WeightRows {
  outFeatures: number;
  inFeatures: number;
  row(o: number): Float32Array;
}

export function rowsOf(weight: Float32Array, outFeatures: number, inFeatures: number): WeightRows {
  return {
    outFeatures,
    inFeatures,
    row: (o) => weight.subarray(o * inFeatures, (o + 1) * inFeatures),
  };
}

/** A buffer that a run over many matrices reuses for T, so that memory stays flat between them. */
export class Scratch {
  private buffer = new Float32Array(0);

  /** `size` numbers, whatever stands in them; valid until the next call. */
  take(size: number): Float32Array {
    if (this.buffer.length < size) this.buffer = new Float32Array(size);
    return this.buffer.subarray(0, size);
  }
}

/**
 * T of a weight, zero in padded places (length: the product of all factors), and ||W||_F^2 in fp64.
 */
export function interleave(
  weight: WeightRows,
  shape: MpoShape,
  orientation: Orientation,
  scratch = new Scratch(),
): { tensor: Float32Array; energy: number } {
  const { outFeatures, inFeatures } = weight;
  const offsets = weightOffsets(shape, outFeatures, inFeatures, orientation);
  const tensor = scratch.take(product(pairSizes(shape)));
  // Padded places are the only ones that are not written.
  if (tensor.length > outFeatures * inFeatures) tensor.fill(0);
  const offIn = offsets.in;
  const n4 = inFeatures - (inFeatures % 4);
  let energy = 0;
  for (let o = 0; o < outFeatures; o++) {
    const base = offsets.out[o] as number;
    const row = weight.row(o);
    // Sums of a row keep the fp64 sum's rounding far below the entries' own; four of them, so that no
    // addition waits for the one before.
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let i = 0; i < n4; i += 4) {
      const x0 = row[i] as number;
      const x1 = row[i + 1] as number;
      const x2 = row[i + 2] as number;
      const x3 = row[i + 3] as number;
      tensor[base + (offIn[i] as number)] = x0;
      tensor[base + (offIn[i + 1] as number)] = x1;
      tensor[base + (offIn[i + 2] as number)] = x2;
      tensor[base + (offIn[i + 3] as number)] = x3;
      s0 += x0 * x0;
      s1 += x1 * x1;
      s2 += x2 * x2;
      s3 += x3 * x3;
    }
    for (let i = n4; i < inFeatures; i++) {
      const x = row[i] as number;
      tensor[base + (offIn[i] as number)] = x;
      s0 += x * x;
    }
    energy += s0 + s1 + (s2 + s3);
  }
  return { tensor, energy };
}

/**
 * The part of T with first row digit i_1 = `digit`, a contiguous run of its entries, written into
 * `target` (length: that of T over the first row factor).
 */
export function interleaveBlock(
  weight: WeightRows,
  shape: MpoShape,
  orientation: Orientation,
  digit: number,
  target: Float32Array,
): void {
  const { outFeatures, inFeatures } = weight;
  const offsets = weightOffsets(shape, outFeatures, inFeatures, orientation);
  const start = digit * target.length;
  // Indices of the leg that the row factors divide: those with this leading digit are consecutive.
  const rows = orientation === 'out' ? outFeatures : inFeatures;
  const run = product(shape.rows) / (shape.rows[0] ?? 1);
  const from = Math.min(rows, digit * run);
  const to = Math.min(rows, from + run);
  const [o0, o1, i0, i1] =
    orientation === 'out' ? [from, to, 0, inFeatures] : [0, outFeatures, from, to];
  target.fill(0);
  for (let o = o0; o < o1; o++) {
    const base = (offsets.out[o] as number) - start;
    const row = weight.row(o);
    for (let i = i0; i < i1; i++) target[base + (offsets.in[i] as number)] = row[i] as number;
  }
}

/** The inverse of {@link interleave}; padded entries are dropped. */
export function deinterleave(
  t: Float32Array,
  outFeatures: number,
  inFeatures: number,
  shape: MpoShape,
  orientation: Orientation,
): Float32Array {
  const offsets = weightOffsets(shape, outFeatures, inFeatures, orientation);
  const weight = new Float32Array(outFeatures * inFeatures);
  const offIn = offsets.in;
  for (let o = 0; o < outFeatures; o++) {
    const base = offsets.out[o] as number;
    const row = o * inFeatures;
    for (let i = 0; i < inFeatures; i++) weight[row + i] = t[base + (offIn[i] as number)] as number;
  }
  return weight;
}
