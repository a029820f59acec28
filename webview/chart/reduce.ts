/**
 * Reduction of a long series to what a chart of a given width can show, without losing an extreme:
 * of every pixel column the first, the last, the smallest and the largest point are kept.
 */

import { scanBlocks, type Blocks } from './blocks';

export interface Points {
  x: Float64Array;
  /** NaN marks a gap (a value that was not finite in the source). */
  y: Float64Array;
}

/** Index of the first element >= value in the ascending `x[0, length)`. */
export function lowerBound(x: Float64Array, length: number, value: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((x[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the element of the ascending `x[0, length)` nearest to `value`; -1 when empty. */
export function nearestIndex(x: Float64Array, length: number, value: number): number {
  if (length === 0) return -1;
  const i = lowerBound(x, length, value);
  if (i === 0) return 0;
  if (i === length) return length - 1;
  return value - (x[i - 1] as number) <= (x[i] as number) - value ? i - 1 : i;
}

/**
 * Keeps first, last, minimum and maximum of each of `columns` equal parts of `[min, max]`, in the
 * source's order, plus the nearest point outside on either side so that lines run to the edges.
 * Non-finite values are never extremes; a column that has one also keeps it (as NaN), so that a
 * divergence shows as a gap and not as a line drawn across it.
 * @param x ascending (equal neighbours allowed), `length` values used
 * @param blocks of `y`, brought up to date; makes long series cheap and changes no result
 */
export function reduceSeries(
  x: Float64Array,
  y: Float64Array,
  length: number,
  min: number,
  max: number,
  columns: number,
  blocks?: Blocks,
): Points {
  const from = lowerBound(x, length, min);
  // One past the last value <= max.
  let to = Math.max(from, lowerBound(x, length, max));
  while (to < length && x[to] === max) to += 1;
  const before = from > 0 ? from - 1 : -1;
  const after = to < length ? to : -1;

  const kept: number[] = [];
  if (before >= 0) kept.push(before);
  if (to - from <= columns * 4) {
    for (let i = from; i < to; i++) kept.push(i);
  } else {
    let start = from;
    for (let c = 0; c < columns && start < to; c++) {
      const edge = min + ((max - min) * (c + 1)) / columns;
      const end = c === columns - 1 ? to : boundFrom(x, start, to, edge);
      if (end > start) keepColumn(y, start, end, blocks, kept);
      start = end;
    }
  }
  if (after >= 0) kept.push(after);

  const out: Points = { x: new Float64Array(kept.length), y: new Float64Array(kept.length) };
  for (let i = 0; i < kept.length; i++) {
    const k = kept[i] as number;
    out.x[i] = x[k] as number;
    const value = y[k] as number;
    out.y[i] = Number.isFinite(value) ? value : NaN;
  }
  return out;
}

function boundFrom(x: Float64Array, start: number, to: number, edge: number): number {
  let low = start;
  let high = to;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((x[middle] as number) < edge) low = middle + 1;
    else high = middle;
  }
  return low;
}

function keepColumn(
  y: Float64Array,
  start: number,
  end: number,
  blocks: Blocks | undefined,
  kept: number[],
): void {
  const { low, high, hole } = scanBlocks(y, start, end, blocks);
  const picks = [start, low, high, hole, end - 1].filter((i) => i >= 0).sort((a, b) => a - b);
  for (let i = 0; i < picks.length; i++) {
    if (i === 0 || picks[i] !== picks[i - 1]) kept.push(picks[i] as number);
  }
}
