/**
 * Extremes of every 64 values of a growing column, so that reducing a million rows to a chart's width
 * reads tens of thousands of numbers and not all of them.
 */
export const BLOCK = 64;

export class Blocks {
  /** Complete blocks described so far. */
  count = 0;
  /** Index of the smallest and largest finite value and of the first that is not; -1 = none. */
  low: Int32Array = new Int32Array(0);
  high: Int32Array = new Int32Array(0);
  hole: Int32Array = new Int32Array(0);

  /** Describes the blocks that became complete; forgets those beyond a shortened column. */
  update(y: Float64Array, length: number): this {
    const complete = Math.floor(length / BLOCK);
    if (complete < this.count) this.count = complete;
    if (this.low.length < complete) {
      const size = Math.max(1024, complete * 2);
      this.low = grown(this.low, this.count, size);
      this.high = grown(this.high, this.count, size);
      this.hole = grown(this.hole, this.count, size);
    }
    for (; this.count < complete; this.count++) {
      const found = scan(y, this.count * BLOCK, (this.count + 1) * BLOCK);
      this.low[this.count] = found.low;
      this.high[this.count] = found.high;
      this.hole[this.count] = found.hole;
    }
    return this;
  }
}

function grown(old: Int32Array, used: number, size: number): Int32Array {
  const next = new Int32Array(size);
  next.set(old.subarray(0, used));
  return next;
}

export interface Extremes {
  low: number;
  high: number;
  hole: number;
}

/** Indices of the smallest and largest finite value of `y[start, end)` and of the first hole. */
export function scan(y: Float64Array, start: number, end: number): Extremes {
  const found = { low: -1, high: -1, hole: -1 };
  scanInto(y, start, end, found);
  return found;
}

function scanInto(y: Float64Array, start: number, end: number, found: Extremes): void {
  let { low, high, hole } = found;
  let lowValue = low < 0 ? Infinity : (y[low] as number);
  let highValue = high < 0 ? -Infinity : (y[high] as number);
  for (let i = start; i < end; i++) {
    const value = y[i] as number;
    // The difference is NaN for NaN and for both infinities.
    if (value - value !== 0) {
      if (hole < 0) hole = i;
      continue;
    }
    if (value < lowValue) {
      lowValue = value;
      low = i;
    }
    if (value > highValue) {
      highValue = value;
      high = i;
    }
  }
  found.low = low;
  found.high = high;
  found.hole = hole;
}

/** The same as `scan`, with the help of the blocks inside the range. */
export function scanBlocks(
  y: Float64Array,
  start: number,
  end: number,
  blocks: Blocks | undefined,
): Extremes {
  const first = Math.ceil(start / BLOCK);
  const last = Math.min(Math.floor(end / BLOCK), blocks?.count ?? 0);
  if (blocks === undefined || last <= first) return scan(y, start, end);
  const found = scan(y, start, first * BLOCK);
  for (let b = first; b < last; b++) {
    const low = blocks.low[b] as number;
    const high = blocks.high[b] as number;
    const hole = blocks.hole[b] as number;
    if (low >= 0 && (found.low < 0 || (y[low] as number) < (y[found.low] as number))) {
      found.low = low;
    }
    if (high >= 0 && (found.high < 0 || (y[high] as number) > (y[found.high] as number))) {
      found.high = high;
    }
    if (hole >= 0 && found.hole < 0) found.hole = hole;
  }
  scanInto(y, last * BLOCK, end, found);
  return found;
}
