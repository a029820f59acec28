import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Smoother } from '../../../webview/chart/smooth';

/** The definition, summed directly: sum_k w^(t-k) v_k / sum_k w^(t-k). */
function direct(values: readonly number[], weight: number): number[] {
  return values.map((_, t) => {
    let above = 0;
    let below = 0;
    for (let k = 0; k <= t; k++) {
      above += weight ** (t - k) * values[k]!;
      below += weight ** (t - k);
    }
    return above / below;
  });
}

describe('Smoother', () => {
  const values = fc.array(fc.double({ min: -100, max: 100, noNaN: true }), {
    minLength: 1,
    maxLength: 80,
  });
  const weight = fc.double({ min: 0, max: 0.99, noNaN: true });

  it('is the normalised, exponentially weighted mean', () => {
    fc.assert(
      fc.property(values, weight, (list, w) => {
        const smoothed = new Smoother(w).update(Float64Array.from(list), list.length);
        // 80 terms of size 100 with weights down to 1 - 0.99: rounding stays far below 1e-8.
        direct(list, w).forEach((expected, i) => {
          expect(Math.abs(smoothed[i]! - expected)).toBeLessThan(1e-8);
        });
      }),
    );
  });

  it('starts at the first value and leaves a constant alone', () => {
    const smoothed = new Smoother(0.9).update(Float64Array.from([3, 3, 3]), 3);
    for (const value of smoothed.subarray(0, 3)) expect(value).toBeCloseTo(3, 12);
  });

  it('gives the same in pieces as at once', () => {
    fc.assert(
      fc.property(values, weight, fc.nat(80), (list, w, at) => {
        const y = Float64Array.from(list);
        const cut = Math.min(at, list.length);
        const pieces = new Smoother(w);
        pieces.update(y, cut);
        const end = pieces.update(y, list.length).slice(0, list.length);
        expect(end).toEqual(new Smoother(w).update(y, list.length).slice(0, list.length));
      }),
    );
  });

  it('starts over when the series was shortened', () => {
    const s = new Smoother(0.5);
    s.update(Float64Array.from([1, 2, 3]), 3);
    expect([...s.update(Float64Array.from([8]), 1).subarray(0, 1)]).toEqual([8]);
  });

  it('passes values that are not finite through as gaps without spoiling the rest', () => {
    const out = new Smoother(0.5).update(Float64Array.from([2, NaN, Infinity, 2]), 4);
    expect([...out.subarray(0, 4)]).toEqual([2, NaN, NaN, 2]);
  });
});
