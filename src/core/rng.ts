/**
 * Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011): every draw is a function of
 * (seed, purpose, index, position), so a shuffle or an initialisation never depends on what was
 * drawn before it and a resumed run repeats the uninterrupted one.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Upper 32 bits of the 64-bit product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** One block of four unsigned 32-bit numbers. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** FNV-1a: names a stream of random numbers by its purpose. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return value;
}

export class Rng {
  readonly #key: [number, number];
  readonly #index: [number, number];
  #block = 0;
  #buffer: number[] = [];
  #spareNormal: number | undefined;

  /**
   * @param seed the run's seed, a non-negative safe integer
   * @param purpose what the numbers are for, e.g. `shuffle` or a tensor's name
   * @param index which of the purpose's streams, e.g. the epoch; a non-negative safe integer
   */
  constructor(seed: number, purpose: string, index = 0) {
    this.#key = [(seed ^ Math.floor(seed / 2 ** 32)) >>> 0, hash(purpose)];
    this.#index = [index >>> 0, Math.floor(index / 2 ** 32) >>> 0];
  }

  /** Uniform over 0 .. 2^32 - 1. */
  uint32(): number {
    const value = this.#buffer.pop();
    if (value !== undefined) return value;
    const low = this.#block >>> 0;
    const high = Math.floor(this.#block / 2 ** 32) >>> 0;
    this.#block++;
    this.#buffer = philox([low, high, ...this.#index], this.#key).reverse();
    return this.#buffer.pop() as number;
  }

  /** Uniform over [0, 1) with 53 random bits. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    if (this.#spareNormal !== undefined) {
      const spare = this.#spareNormal;
      this.#spareNormal = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Uniform over 0 .. bound - 1, without modulo bias. */
  integer(bound: number): number {
    const limit = Math.floor(2 ** 32 / bound) * bound;
    let value = this.uint32();
    while (value >= limit) value = this.uint32();
    return value % bound;
  }

  /** A random permutation of 0 .. length - 1 (Fisher-Yates). */
  permutation(length: number): Int32Array {
    const order = Int32Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const held = order[i] as number;
      order[i] = order[j] as number;
      order[j] = held;
    }
    return order;
  }

  /** Gaussian numbers of the given standard deviation. */
  normals(length: number, standardDeviation: number): Float32Array {
    const out = new Float32Array(length);
    for (let i = 0; i < length; i++) out[i] = standardDeviation * this.normal();
    return out;
  }
}
