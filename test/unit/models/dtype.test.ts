import { describe, expect, it } from 'vitest';
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from '../../../src/models/dtype';

const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
const isNaN16 = (half: number, exponentMask: number, fractionMask: number): boolean =>
  (half & exponentMask) === exponentMask && (half & fractionMask) !== 0;

/** Reference: value of a half by its definition, sign * 2^(e-15) * (1 + f/1024). */
function halfValue(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * 2 ** -24 * fraction;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

describe('bf16', () => {
  it('returns every finite word unchanged after widening and narrowing', () => {
    const back = f32ToBf16(bf16ToF32(words));
    for (let i = 0; i < 65536; i++) {
      if (!isNaN16(i, 0x7f80, 0x7f)) expect(back[i]).toBe(i);
      else expect(isNaN16(back[i]!, 0x7f80, 0x7f)).toBe(true);
    }
  });

  it('rounds to nearest, ties to even', () => {
    // 1 + 2^-8 lies half way between 1 and 1 + 2^-7; 1 + 3 * 2^-8 between odd and even 0x3f82.
    const source = Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.4e38);
    expect([...f32ToBf16(source)]).toEqual([0x3f80, 0x3f82, 0x3f81, 0x7f80]);
  });

  it('keeps NaN whose payload lies only in the dropped bits', () => {
    const nan = new Float32Array(Uint32Array.of(0x7f800001).buffer);
    expect(bf16ToF32(f32ToBf16(nan))[0]).toBeNaN();
  });
});

describe('f16', () => {
  it('widens every word to its defined value', () => {
    const wide = f16ToF32(words);
    for (let i = 0; i < 65536; i++) expect(Object.is(wide[i], halfValue(i))).toBe(true);
  });

  it('returns every non-NaN word unchanged after widening and narrowing', () => {
    const back = f32ToF16(f16ToF32(words));
    for (let i = 0; i < 65536; i++) {
      if (!isNaN16(i, 0x7c00, 0x3ff)) expect(back[i]).toBe(i);
      else expect(isNaN16(back[i]!, 0x7c00, 0x3ff)).toBe(true);
    }
  });

  it('rounds each midpoint between neighbours to the even one and its surroundings to the nearer', () => {
    for (let half = 0; half < 0x7bff; half++) {
      const middle = (halfValue(half) + halfValue(half + 1)) / 2;
      // fp32 has 13 more bits, so the midpoint and its fp32 neighbours are exact.
      const bits = new Uint32Array(Float32Array.of(middle).buffer)[0]!;
      const around = new Float32Array(Uint32Array.of(bits - 1, bits, bits + 1).buffer);
      const even = half % 2 === 0 ? half : half + 1;
      expect([...f32ToF16(around)]).toEqual([half, even, half + 1]);
    }
    expect([...f32ToF16(Float32Array.of(65519.996, 65520, -1e9, 2 ** -25))]).toEqual([
      0x7bff, 0x7c00, 0xfc00, 0,
    ]);
  });
});
