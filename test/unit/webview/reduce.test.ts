import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { alignLines, valueRange } from '../../../webview/chart/align';
import { Blocks } from '../../../webview/chart/blocks';
import { ColumnStore } from '../../../webview/chart/columns';
import { lowerBound, nearestIndex, reduceSeries } from '../../../webview/chart/reduce';

/** Ascending x with ties, and y with an occasional value that is not finite. */
const series = fc
  .array(
    fc.tuple(
      fc.integer({ min: 0, max: 3 }),
      fc.oneof(
        { weight: 20, arbitrary: fc.double({ min: -1e6, max: 1e6, noNaN: true }) },
        { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity) },
      ),
    ),
    { minLength: 1, maxLength: 400 },
  )
  .map((rows) => {
    let at = 0;
    const x = Float64Array.from(rows, ([step]) => (at += step));
    return { x, y: Float64Array.from(rows, ([, value]) => value) };
  });

describe('reduceSeries', () => {
  it('keeps first, last, minimum and maximum of every pixel column', () => {
    fc.assert(
      fc.property(series, fc.integer({ min: 1, max: 12 }), ({ x, y }, columns) => {
        const n = x.length;
        const min = x[0]!;
        const max = x[n - 1]!;
        const out = reduceSeries(x, y, n, min, max, columns);
        const has = (px: number, py: number): boolean =>
          out.x.some((v, i) => v === px && Object.is(out.y[i]! + 0, py + 0));
        for (let c = 0; c < columns; c++) {
          const left = min + ((max - min) * c) / columns;
          const right = min + ((max - min) * (c + 1)) / columns;
          const inside: number[] = [];
          for (let i = 0; i < n; i++) {
            const last = c === columns - 1;
            if (x[i]! >= left && (last || x[i]! < right)) inside.push(i);
          }
          if (inside.length === 0) continue;
          const finite = inside.filter((i) => Number.isFinite(y[i]));
          for (const i of [inside[0]!, inside.at(-1)!]) {
            if (Number.isFinite(y[i])) expect(has(x[i]!, y[i]!)).toBe(true);
          }
          if (finite.length === 0) continue;
          const values = finite.map((i) => y[i]!);
          for (const extreme of [Math.min(...values), Math.max(...values)]) {
            const where = finite.filter((i) => y[i] === extreme);
            expect(where.some((i) => has(x[i]!, y[i]!))).toBe(true);
          }
          // A value that is not finite leaves a gap in its column.
          if (finite.length < inside.length) {
            const gap = out.x.some(
              (v, i) => Number.isNaN(out.y[i]) && v >= x[inside[0]!]! && v <= x[inside.at(-1)!]!,
            );
            expect(gap).toBe(true);
          }
        }
      }),
    );
  });

  it('returns points of the source only, in order, at most five a column and two at the edges', () => {
    fc.assert(
      fc.property(
        series,
        fc.integer({ min: 1, max: 12 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        ({ x, y }, columns, a, b) => {
          const span = x.at(-1)! - x[0]!;
          const min = x[0]! + span * Math.min(a, b);
          const max = x[0]! + span * Math.max(a, b);
          const out = reduceSeries(x, y, x.length, min, max, columns);
          expect(out.x.length).toBeLessThanOrEqual(5 * columns + 2);
          let from = 0;
          for (let i = 0; i < out.x.length; i++) {
            const value = out.y[i]!;
            while (
              from < x.length &&
              !(
                x[from] === out.x[i] &&
                (y[from] === value || (Number.isNaN(value) && !Number.isFinite(y[from])))
              )
            ) {
              from++;
            }
            expect(from).toBeLessThan(x.length);
            from++;
          }
        },
      ),
    );
  });

  it('adds the neighbours outside the range, so that lines reach the edges', () => {
    const x = Float64Array.from([0, 10, 20, 30]);
    const y = Float64Array.from([1, 2, 3, 4]);
    expect([...reduceSeries(x, y, 4, 12, 18, 100).x]).toEqual([10, 20]);
    expect([...reduceSeries(x, y, 4, 10, 20, 100).x]).toEqual([0, 10, 20, 30]);
    expect([...reduceSeries(x, y, 4, -5, -1, 100).x]).toEqual([0]);
    expect([...reduceSeries(x, y, 0, 0, 1, 100).x]).toEqual([]);
  });

  it('reads only the first `length` values of a buffer that is longer', () => {
    const x = Float64Array.from([0, 1, 2, 0, 0]);
    const y = Float64Array.from([5, 6, 7, 99, 99]);
    expect([...reduceSeries(x, y, 3, 0, 2, 1).y]).toEqual([5, 6, 7]);
  });
});

describe('Blocks', () => {
  it('change no result, however the column grew and shrank', () => {
    fc.assert(
      fc.property(
        series,
        fc.array(fc.nat(400), { maxLength: 4 }),
        fc.integer({ min: 1, max: 3 }),
        ({ x, y }, cuts, columns) => {
          const blocks = new Blocks();
          for (const cut of cuts) blocks.update(y, Math.min(cut, y.length));
          blocks.update(y, y.length);
          const plain = reduceSeries(x, y, x.length, x[0]!, x.at(-1)!, columns);
          const fast = reduceSeries(x, y, x.length, x[0]!, x.at(-1)!, columns, blocks);
          expect(fast).toEqual(plain);
        },
      ),
    );
  });
});

describe('searching', () => {
  it('lowerBound is the count of smaller values', () => {
    fc.assert(
      fc.property(series, fc.integer({ min: -2, max: 900 }), ({ x }, value) => {
        expect(lowerBound(x, x.length, value)).toBe(x.filter((v) => v < value).length);
      }),
    );
  });

  it('nearestIndex has the least distance', () => {
    fc.assert(
      fc.property(series, fc.double({ min: -5, max: 900, noNaN: true }), ({ x }, value) => {
        const i = nearestIndex(x, x.length, value);
        const best = Math.min(...x.map((v) => Math.abs(v - value)));
        expect(Math.abs(x[i]! - value)).toBe(best);
      }),
    );
    expect(nearestIndex(new Float64Array(0), 0, 1)).toBe(-1);
  });
});

describe('alignLines', () => {
  it('keeps every point of every line, in order', () => {
    fc.assert(
      fc.property(fc.array(series, { minLength: 1, maxLength: 4 }), (lines) => {
        const aligned = alignLines(lines, false);
        for (let i = 1; i < aligned.x.length; i++) {
          expect(aligned.x[i]).toBeGreaterThanOrEqual(aligned.x[i - 1]!);
        }
        lines.forEach((line, k) => {
          const rows = aligned.ys[k]!.map((y, i) => [aligned.x[i], y] as const).filter(
            ([, y]) => y !== undefined,
          );
          expect(rows).toEqual(
            [...line.x].map((x, i) => [x, Number.isFinite(line.y[i]) ? line.y[i] : null]),
          );
        });
      }),
      { numRuns: 40 },
    );
  });

  it('turns values a logarithmic axis cannot show into gaps', () => {
    const line = { x: Float64Array.from([0, 1, 2]), y: Float64Array.from([1, 0, -3]) };
    expect(alignLines([line], true).ys[0]).toEqual([1, null, null]);
    const [low, high] = valueRange([line], true);
    expect(low).toBeGreaterThan(0);
    expect(high).toBeGreaterThanOrEqual(1);
  });
});

describe('valueRange', () => {
  it('contains every finite value and never is empty', () => {
    fc.assert(
      fc.property(series, (line) => {
        const [low, high] = valueRange([line], false);
        expect(high).toBeGreaterThan(low);
        for (const y of line.y) {
          if (!Number.isFinite(y)) continue;
          expect(y).toBeGreaterThanOrEqual(low);
          expect(y).toBeLessThanOrEqual(high);
        }
      }),
    );
  });

  it('leaves out what a zoom does not show, unless there is nothing else', () => {
    // A short run ended high, before the part that is zoomed into; its last point is kept for the line.
    const ended = { x: Float64Array.from([3]), y: Float64Array.from([50]) };
    const line = { x: Float64Array.from([9, 10, 20, 21]), y: Float64Array.from([90, 1, 2, -40]) };
    const [low, high] = valueRange([ended, line], false, { min: 10, max: 20 });
    expect(low).toBeLessThanOrEqual(1);
    expect(low).toBeGreaterThan(0);
    expect(high).toBeGreaterThanOrEqual(2);
    expect(high).toBeLessThan(3);
    const between = valueRange([ended, line], false, { min: 12, max: 15 });
    expect(between).toEqual(valueRange([ended, line], false));
  });
});

describe('ColumnStore', () => {
  it('behaves like arrays that are concatenated and cut', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.array(fc.double({ noNaN: true }), { maxLength: 700 }),
            fc.integer({ min: 0, max: 900 }),
          ),
          { maxLength: 12 },
        ),
        (actions) => {
          const store = new ColumnStore(['a', 'b']);
          let model: number[] = [];
          for (const action of actions) {
            if (typeof action === 'number') {
              store.truncate(action);
              model = model.slice(0, action);
            } else {
              const a = Float64Array.from(action);
              store.append({ a, b: a.map((v) => -v) });
              model.push(...action);
            }
          }
          expect(store.length).toBe(model.length);
          expect([...store.column('a').subarray(0, store.length)]).toEqual(model);
          expect([...store.column('b').subarray(0, store.length)]).toEqual(model.map((v) => -v));
        },
      ),
      { numRuns: 50 },
    );
  });
});
