import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { csvField, csvRow } from '../../../src/compare/csv';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatFixed,
  formatInteger,
  formatNumber,
  formatPercent,
  plural,
} from '../../../webview/shared/format';
import { linearTicks, logTicks } from '../../../webview/shared/ticks';

describe('formatters', () => {
  it.each([
    [undefined, '–'],
    [NaN, '–'],
    [Infinity, '∞'],
    [0, '0'],
    [1.83249, '1.832'],
    [2, '2'],
    [0.00137, '0.00137'],
    [0.0001, '1e−4'],
    [0.00099999, '0.001'],
    [999999.9, '1e6'],
    [-0.5, '−0.5'],
    [1234567, '1.235e6'],
  ])('formatNumber(%s) is %s', (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });

  it('formatNumber reads back to within its digits', () => {
    fc.assert(
      fc.property(fc.double({ min: -1e12, max: 1e12, noNaN: true }), (value) => {
        const back = Number(formatNumber(value, 4).replaceAll('−', '-'));
        // Half a unit in the fourth digit.
        expect(Math.abs(back - value)).toBeLessThanOrEqual(Math.abs(value) * 5.001e-4);
      }),
    );
  });

  it.each([
    [950, '950'],
    [999.96, '1000'],
    [12_345, '12.3 k'],
    [999_499, '999 k'],
    [1_099_776, '1.10 M'],
    [6_738_415_616, '6.74 B'],
  ])('formatCount(%s) is %s', (value, text) => {
    expect(formatCount(value)).toBe(text);
  });

  it.each([
    [512, '512 B'],
    [410_000_000, '410 MB'],
    [999_600, '1.00 MB'],
    [13_476_831_232, '13.5 GB'],
  ])('formatBytes(%s) is %s', (value, text) => {
    expect(formatBytes(value)).toBe(text);
  });

  it.each([
    [0.4, '0.4 s'],
    [9.96, '10 s'],
    [45, '45 s'],
    [59.6, '1 min 00 s'],
    [200, '3 min 20 s'],
    [3599.7, '1 h 00 min'],
    [3720, '1 h 02 min'],
    [183_600, '2 d 03 h'],
    [-1, '–'],
  ])('formatDuration(%s) is %s', (value, text) => {
    expect(formatDuration(value)).toBe(text);
  });

  it.each([
    [0, '0 %'],
    [1, '100 %'],
    [0.41234, '41.2 %'],
    [0.999987, '99.9987 %'],
    [0.0000123, '0.00123 %'],
    [-0.05, '−5 %'],
  ])('formatPercent(%s) is %s', (value, text) => {
    expect(formatPercent(value)).toBe(text);
  });

  it('never shows 100 % for less, down to 1e-6', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 0.4, noNaN: true }), (gap) => {
        expect(formatPercent(1 - gap)).not.toBe('100 %');
      }),
    );
  });

  it('groups integers, fixes decimals, counts nouns', () => {
    expect(formatInteger(1234567)).toBe('1,234,567');
    expect(formatInteger(-1234)).toBe('−1,234');
    expect(formatFixed(1.005, 1)).toBe('1.0');
    expect(plural(1, 'run')).toBe('1 run');
    expect(plural(2, 'entry', 'entries')).toBe('2 entries');
  });
});

describe('ticks', () => {
  const range = fc
    .tuple(
      fc.double({ min: -1e6, max: 1e6, noNaN: true }),
      fc.double({ min: 1e-3, max: 1e6, noNaN: true }),
    )
    .map(([low, span]) => [low, low + span] as const);

  it('are evenly spaced round values inside the range, about as many as asked for', () => {
    fc.assert(
      fc.property(range, fc.integer({ min: 2, max: 12 }), ([low, high], count) => {
        const ticks = linearTicks(low, high, count);
        const slack = (high - low) * 1e-6;
        expect(ticks.length).toBeLessThanOrEqual(count + 1);
        // The step is at most 2.5 times the ideal one.
        expect(ticks.length).toBeGreaterThanOrEqual(Math.floor(count / 2.5));
        for (const t of ticks) {
          expect(t).toBeGreaterThanOrEqual(low - slack);
          expect(t).toBeLessThanOrEqual(high + slack);
        }
        for (let i = 2; i < ticks.length; i++) {
          const even = ticks[i]! - ticks[i - 1]! - (ticks[1]! - ticks[0]!);
          expect(Math.abs(even)).toBeLessThan(Math.max(Math.abs(low), Math.abs(high)) * 1e-9);
        }
      }),
    );
    expect(linearTicks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(linearTicks(0.1, 0.3, 2)).toEqual([0.1, 0.2, 0.3]);
    // Three steps, or one evaluation, on an axis of whole numbers: none twice.
    expect(linearTicks(0, 3, 8, 1)).toEqual([0, 1, 2, 3]);
    expect(linearTicks(39.5, 40.5, 8, 1)).toEqual([40]);
    expect(linearTicks(0, 1000, 4, 1)).toEqual(linearTicks(0, 1000, 4));
  });

  it('of a logarithmic axis are 1, 2 or 5 times a power of ten', () => {
    expect(logTicks(0.5, 2000, 5)).toEqual([1, 10, 100, 1000]);
    expect(logTicks(0.6, 6, 5)).toEqual([1, 2, 5]);
    expect(logTicks(3, 4, 4)).toEqual([3, 3.5, 4]);
    expect(logTicks(1e-9, 1, 4)).toEqual([1e-9, 1e-6, 1e-3, 1]);
    expect(logTicks(0, 1, 4)).toEqual([]);
  });
});

describe('csv', () => {
  it('quotes as RFC 4180 and defuses formulas', () => {
    expect(csvField('a,b')).toBe('"a,b"');
    expect(csvField('say "x"')).toBe('"say ""x"""');
    expect(csvField('=HYPERLINK("x")')).toBe(`"'=HYPERLINK(""x"")"`);
    expect(csvField('@cmd')).toBe("'@cmd");
    expect(csvField(-1.5e-7)).toBe('-1.5e-7');
    expect(csvField(NaN)).toBe('');
    expect(csvRow(['a', 1])).toBe('a,1\r\n');
  });
});
