import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  dequantizeNf4,
  dequantizePlain,
  expandScales,
  NF4_VALUES,
  nf4Bytes,
  quantizeNf4,
  SCALE_BLOCK,
} from '../../../src/core/nf4';
import { nf4Kernel } from '../../../src/core/nf4Kernel';
import { Rng } from '../../../src/core/rng';

interface Reference {
  table: number[];
  weights: number[];
  codes: number[];
  scaleCodes: number[];
  offset: number;
  blockScales: number[];
  scales: number[];
  /** Blocks with every float32 that lies halfway between two entries, and its neighbours. */
  ties: { weights: number[]; codes: number[]; exact: number };
}
const reference = JSON.parse(readFileSync('test/fixtures/nf4/nf4.json', 'utf8')) as Reference;

const weights = Float32Array.from(reference.weights);

function unpack(codes: Uint8Array): number[] {
  return [...codes].flatMap((byte) => [byte >> 4, byte & 15]);
}

describe('NF4', () => {
  it('has the table that normal quantiles give', () => {
    // The published entries are these quantiles in float32, computed with a slightly rounded offset:
    // they agree to a few float32 units.
    NF4_VALUES.forEach((value, k) =>
      expect(Math.abs(value - (reference.table[k] ?? 9))).toBeLessThan(1e-6),
    );
  });

  it('gives the codes of a brute-force nearest search, zero and constant blocks included', () => {
    expect(unpack(quantizeNf4(weights).codes)).toEqual(reference.codes);
  });

  it('quantises the scales like the reference', () => {
    const { scales } = quantizeNf4(weights);
    if (scales instanceof Float32Array) throw new Error('scales are not quantised');
    expect([...scales.codes]).toEqual(reference.scaleCodes);
    expect(Math.abs(scales.offset - reference.offset)).toBeLessThan(1e-7 * reference.offset);
    // fp32 storage of offset and block scale: a few units of 6e-8.
    expandScales(scales).forEach((scale, b) => {
      expect(Math.abs(scale - (reference.scales[b] ?? 9))).toBeLessThan(1e-6 * reference.offset);
    });
  });

  it('bounds the error of a weight by half the widest gap, and of a scale by half the map’s', () => {
    const tensor = quantizeNf4(weights, 64, false);
    const out = new Float32Array(weights.length);
    dequantizeNf4(tensor, out);
    const exact = expandScales(tensor.scales);
    // The widest gap of the table is between -1 and -0.696.
    const halfGap = (1 - 0.6961928) / 2;
    weights.forEach((w, i) => {
      expect(Math.abs(w - (out[i] ?? 9))).toBeLessThanOrEqual(
        halfGap * (exact[i >> 6] ?? 0) + 1e-9,
      );
    });
    const double = quantizeNf4(weights);
    if (double.scales instanceof Float32Array) throw new Error('scales are not quantised');
    // The top decade of the 8-bit map has 64 steps over 0.9: neighbours differ by at most 0.0141.
    const { blockScales } = double.scales;
    expandScales(double.scales).forEach((scale, b) => {
      const bound = (0.0141 / 2) * (blockScales[Math.floor(b / SCALE_BLOCK)] ?? 0) + 1e-7;
      expect(Math.abs(scale - (exact[b] ?? 9))).toBeLessThanOrEqual(bound);
    });
  });

  it('keeps representable values exactly, for odd lengths too', () => {
    const rng = new Rng(3, 'nf4');
    for (const length of [1, 63, 64, 65, 129, 1001]) {
      const values = Float32Array.from({ length }, (_, i) =>
        // Scale 0.5 is a power of two, so the products are exact; each block holds its maximum.
        i % 64 === 0 ? 0.5 : 0.5 * (NF4_VALUES[rng.integer(16)] ?? 0),
      );
      const out = new Float32Array(length);
      dequantizeNf4(quantizeNf4(values, 64, false), out);
      expect(out).toEqual(values);
    }
  });

  it('takes the lower code exactly halfway between two, and the nearer one beside that', () => {
    const { weights: given, codes, exact } = reference.ties;
    expect(exact).toBeGreaterThanOrEqual(10);
    expect(unpack(quantizeNf4(Float32Array.from(given), 64, false).codes)).toEqual(codes);
  });

  it.each([true, false])('gives zeros for a block of zeros (double quantisation: %s)', (double) => {
    const values = new Rng(5, 'nf4').normals(4 * 64, 0.3);
    values.fill(0, 64, 128);
    const tensor = quantizeNf4(values, 64, double);
    expect(unpack(tensor.codes).slice(64, 128)).toEqual(new Array(64).fill(7));
    const out = new Float32Array(values.length);
    dequantizeNf4(tensor, out);
    expect(out.subarray(64, 128)).toEqual(new Float32Array(64));
    expect(Math.max(...out.subarray(128).map(Math.abs))).toBeGreaterThan(0.3);
    const nothing = new Float32Array(64).fill(1);
    dequantizeNf4(quantizeNf4(new Float32Array(64), 64, double), nothing);
    expect(nothing).toEqual(new Float32Array(64));
  });

  // 512 blocks are widened at a time; lengths around that, with an end that is no whole block.
  it.each([
    [64, true],
    [511 * 64, true],
    [512 * 64, false],
    [513 * 64 + 31, true],
    [1024 * 64 + 1, false],
  ])('gives the same bits with SIMD and without: %d weights', (length, double) => {
    expect(nf4Kernel(NF4_VALUES)).toBeDefined();
    const values = new Rng(length, 'nf4').normals(length, 0.02);
    values.fill(0, 0, 64);
    const tensor = quantizeNf4(values, 64, double);
    const [simd, plain] = [new Float32Array(length), new Float32Array(length)];
    dequantizeNf4(tensor, simd);
    dequantizePlain(tensor, plain);
    expect(new Uint32Array(simd.buffer)).toEqual(new Uint32Array(plain.buffer));
    expect(plain.some((value) => value !== 0) || length === 64).toBe(true);
  });

  it('stores 4.127 bits a weight with double quantisation', () => {
    const length = 64 * 256 * 8;
    const tensor = quantizeNf4(new Rng(1, 'nf4').normals(length, 1));
    expect((8 * nf4Bytes(tensor)) / length).toBeCloseTo(4.127, 2);
  });
});
