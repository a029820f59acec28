/**
 * Two yardsticks for a kept energy: a Gaussian matrix of the same shape, and a random matrix with
 * the weight's own singular values. Structure is what an MPO keeps beyond both.
 */
import type { Gemm, Matrix } from '../gemm';
import { gaussian } from '../linalg/probes';
import { qr } from '../linalg/qr';
import { pairSizes } from './shapes';
import type { MpoShape } from './types';

/** Widest Haar block of a random rotation. */
const BLOCK = 256;
const ROUNDS = 2;

/**
 * Share of the energy that the leading `kept` of `side` singular directions of a Gaussian
 * `[side, other]` hold, side <= other, by the Marchenko-Pastur law (accurate to about a per cent
 * from sides of a few dozen on).
 *
 * With lambda = 1 + g + 2 sqrt(g) cos(t), g = side / other, the law's density in t is
 * 2 sin^2(t) / (pi lambda), and its energy-weighted one 2 sin^2(t) / pi.
 */
export function gaussianKeptShare(side: number, other: number, kept: number): number {
  if (kept >= side) return 1;
  const [t = 0] = anglesOfCounts(side / other, Float64Array.of(kept / side));
  return (t - Math.sin(t) * Math.cos(t)) / Math.PI;
}

/**
 * Singular values of a Gaussian `[side, other]` of total energy `energy`, at the quantiles
 * (i + 1/2) / side, descending.
 */
export function gaussianSpectrum(side: number, other: number, energy: number): Float64Array {
  const g = side / other;
  const counts = Float64Array.from({ length: side }, (_, i) => (i + 0.5) / side);
  return anglesOfCounts(g, counts).map((t) =>
    Math.sqrt((energy / side) * (1 + g + 2 * Math.sqrt(g) * Math.cos(t))),
  );
}

/**
 * Expected kept energy of a Gaussian matrix decomposed outside-in with these bonds: after each cut
 * the tensor that remains is treated as Gaussian again.
 */
export function gaussianKeptEnergy(shape: MpoShape, bonds: readonly number[]): number {
  const pairs = pairSizes(shape);
  let first = 0;
  let last = pairs.length - 1;
  let left = 1;
  let right = 1;
  let size = pairs.reduce((a, b) => a * b, 1);
  let share = 1;
  while (first < last) {
    const leftSide = left * (pairs[first] ?? 1);
    const rightSide = (pairs[last] ?? 1) * right;
    const fromLeft = leftSide <= rightSide;
    const side = Math.min(leftSide, rightSide);
    const bond = Math.min(side, bonds[fromLeft ? first : last - 1] ?? 1);
    share *= gaussianKeptShare(side, size / side, bond);
    size = (size / side) * bond;
    if (fromLeft) {
      left = bond;
      first++;
    } else {
      right = bond;
      last--;
    }
  }
  return share;
}

/**
 * The angles below which shares `counts` (ascending) of the eigenvalues lie, the largest ones first:
 * t from 0.
 */
function anglesOfCounts(g: number, counts: Float64Array): Float64Array {
  // Cumulative Simpson sums on a fixed grid; the integrand is smooth but for g = 1 at t = pi.
  const steps = 512;
  const h = Math.PI / steps;
  const density = (t: number): number => {
    const lambda = 1 + g + 2 * Math.sqrt(g) * Math.cos(t);
    return lambda < 1e-12 ? 2 / Math.PI : (2 * Math.sin(t) ** 2) / (Math.PI * lambda);
  };
  const angles = new Float64Array(counts.length).fill(Math.PI);
  let total = 0;
  let next = 0;
  for (let k = 0; k < steps && next < counts.length; k++) {
    const t = k * h;
    const slice = (h / 6) * (density(t) + 4 * density(t + h / 2) + density(t + h));
    for (; next < counts.length && total + slice >= (counts[next] as number); next++)
      angles[next] = t + (h * ((counts[next] as number) - total)) / slice;
    total += slice;
  }
  return angles;
}

/**
 * A random matrix with the singular values of `weight` `[rows, cols]`: U W V with random orthogonal
 * U and V, new data. Up to side 256 they are Haar-distributed. Wider ones are products of two
 * rounds of (signs, permutation, one Haar block of at most 256 repeated along the diagonal): not
 * exactly Haar, but every entry is mixed with every other, in GEMM time and without an SVD.
 */
export async function rotateRandomly(
  weight: Float32Array,
  rows: number,
  cols: number,
  seed: number,
  gemm: Gemm,
): Promise<Float32Array> {
  let data = weight;
  const rounds = Math.max(rows, cols) <= BLOCK ? 1 : ROUNDS;
  for (let round = 0; round < rounds; round++) {
    data = await rotateRows(data, rows, cols, seed + 4 * round + 1, gemm);
    data = await rotateColumns(data, rows, cols, seed + 4 * round + 3, gemm);
  }
  return data;
}

/** Largest block size <= BLOCK into which `size` splits evenly enough; the rest stays unrotated. */
function blockSize(size: number): number {
  if (size <= BLOCK) return size;
  for (let b = BLOCK; b >= BLOCK / 4; b--) if (size % b === 0) return b;
  return BLOCK;
}

function haar(size: number, seed: number): Matrix<Float32Array> {
  const { q } = qr(Float64Array.from(gaussian(size * size, seed)), size, size);
  return { data: Float32Array.from(q), rows: size, cols: size };
}

/** Order and signs of a random signed permutation. */
function signedPermutation(size: number, seed: number): { order: Int32Array; sign: Float32Array } {
  const keys = gaussian(size, seed);
  const order = Int32Array.from({ length: size }, (_, k) => k);
  order.sort((a, b) => (keys[a] as number) - (keys[b] as number) || a - b);
  const sign = gaussian(size, seed + 1).map((x) => (x < 0 ? -1 : 1));
  return { order, sign };
}

async function rotateRows(
  data: Float32Array,
  rows: number,
  cols: number,
  seed: number,
  gemm: Gemm,
): Promise<Float32Array> {
  const { order, sign } = signedPermutation(rows, seed);
  const out = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    const source = (order[i] as number) * cols;
    const s = sign[i] as number;
    for (let j = 0; j < cols; j++) out[i * cols + j] = s * (data[source + j] as number);
  }
  const b = blockSize(rows);
  const h = haar(b, seed + 101);
  for (let start = 0; start + b <= rows; start += b) {
    const part = out.subarray(start * cols, (start + b) * cols);
    part.set((await gemm.f32(h, { data: part, rows: b, cols })).data);
  }
  return out;
}

async function rotateColumns(
  data: Float32Array,
  rows: number,
  cols: number,
  seed: number,
  gemm: Gemm,
): Promise<Float32Array> {
  const { order, sign } = signedPermutation(cols, seed);
  const out = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++)
      out[i * cols + j] = (sign[j] as number) * (data[i * cols + (order[j] as number)] as number);
  const b = blockSize(cols);
  const h = haar(b, seed + 202);
  const blocks = Math.floor(cols / b);
  // Row chunks keep the extra memory at a few MiB.
  const height = Math.max(1, Math.floor((1 << 20) / cols));
  for (let start = 0; start < rows; start += height) {
    const count = Math.min(height, rows - start);
    if (blocks * b === cols) {
      const part = out.subarray(start * cols, (start + count) * cols);
      part.set((await gemm.f32({ data: part, rows: count * blocks, cols: b }, h)).data);
      continue;
    }
    const packed = new Float32Array(count * blocks * b);
    for (let i = 0; i < count; i++) {
      const source = (start + i) * cols;
      packed.set(out.subarray(source, source + blocks * b), i * blocks * b);
    }
    const turned = (await gemm.f32({ data: packed, rows: count * blocks, cols: b }, h)).data;
    for (let i = 0; i < count; i++)
      out.set(turned.subarray(i * blocks * b, (i + 1) * blocks * b), (start + i) * cols);
  }
  return out;
}
