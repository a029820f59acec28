import { describe, expect, it } from 'vitest';
import { philox, Rng } from '../../../src/core/rng';

describe('Rng', () => {
  it('is Philox 4x32-10, by the known answers of Random123', () => {
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    const ones = 0xffffffff;
    expect(philox([ones, ones, ones, ones], [ones, ones])).toEqual([
      0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd,
    ]);
    expect(
      philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    ).toEqual([0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
  });

  it('repeats for equal keys and differs in each part of the key', () => {
    const draw = (...key: ConstructorParameters<typeof Rng>) =>
      Array.from(
        { length: 8 },
        (
          (rng) => () =>
            rng.uint32()
        )(new Rng(...key)),
      );
    expect(draw(1, 'shuffle', 2)).toEqual(draw(1, 'shuffle', 2));
    const streams = [
      draw(1, 'shuffle', 2),
      draw(2, 'shuffle', 2),
      draw(1, 'other', 2),
      draw(1, 'shuffle', 3),
      draw(1 + 2 ** 33, 'shuffle', 2),
    ];
    expect(new Set(streams.map(String)).size).toBe(streams.length);
  });

  it('draws uniform and normal numbers of the right moments', () => {
    const rng = new Rng(4, 'moments');
    const count = 20_000;
    const moments = (draw: () => number) => {
      const values = Array.from({ length: count }, draw);
      const mean = values.reduce((sum, value) => sum + value, 0) / count;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count;
      return { mean, variance };
    };
    // Four standard errors: sqrt(1/12/n) and sqrt(1/n) for the means, sqrt(2/n) for the variance.
    const uniform = moments(() => rng.uniform());
    expect(Math.abs(uniform.mean - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / count));
    const normal = moments(() => rng.normal());
    expect(Math.abs(normal.mean)).toBeLessThan(4 / Math.sqrt(count));
    expect(Math.abs(normal.variance - 1)).toBeLessThan(4 * Math.sqrt(2 / count));
  });

  it('permutes every index once, and not always in the same way', () => {
    const order = new Rng(0, 'permutation').permutation(100);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(order).not.toEqual(new Rng(0, 'permutation', 1).permutation(100));
    expect(order).not.toEqual(Int32Array.from({ length: 100 }, (_, i) => i));
  });
});
