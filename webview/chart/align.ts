import type { Points } from './reduce';

/** One shared x column and a y column for each line, as uPlot draws them. */
export interface Aligned {
  x: number[];
  /** undefined = this line has no point here (draw on); null = a gap. */
  ys: (number | null | undefined)[][];
}

/**
 * Merges lines with different x values. Equal x values within a line stay separate rows, so that no
 * extreme of a pixel column is lost.
 * @param positiveOnly turns values <= 0 into gaps, for a logarithmic axis
 */
export function alignLines(lines: readonly Points[], positiveOnly: boolean): Aligned {
  const x: number[] = [];
  const ys: (number | null | undefined)[][] = lines.map(() => []);
  const at = lines.map(() => 0);
  for (;;) {
    let next = Infinity;
    lines.forEach((line, k) => {
      const i = at[k] as number;
      if (i < line.x.length) next = Math.min(next, line.x[i] as number);
    });
    if (next === Infinity) return { x, ys };
    const row = x.push(next) - 1;
    lines.forEach((line, k) => {
      const i = at[k] as number;
      const column = ys[k] as (number | null | undefined)[];
      if (i < line.x.length && line.x[i] === next) {
        const value = line.y[i] as number;
        column[row] = Number.isFinite(value) && !(positiveOnly && value <= 0) ? value : null;
        at[k] = i + 1;
      } else {
        column[row] = undefined;
      }
    });
  }
}

/**
 * Range of all finite values, padded; for a logarithmic axis padded by a factor.
 * @param seen part of x that is drawn: points outside count only where none is inside
 */
export function valueRange(
  lines: readonly Points[],
  log: boolean,
  seen?: { min: number; max: number },
): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const { x, y } of lines) {
    for (let i = 0; i < y.length; i++) {
      const at = x[i] as number;
      if (seen !== undefined && (at < seen.min || at > seen.max)) continue;
      const value = y[i] as number;
      if (!Number.isFinite(value) || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  // Between two points far apart, a line is all that is seen.
  if (low > high && seen !== undefined) return valueRange(lines, log);
  if (low > high) return log ? [0.1, 1] : [0, 1];
  if (log) {
    const factor = Math.max(1.05, (high / low) ** 0.06);
    return [low / factor, high * factor];
  }
  if (low === high) {
    const pad = Math.abs(low) * 0.1 || 1;
    return [low - pad, high + pad];
  }
  const pad = (high - low) * 0.06;
  // Quantities that are never negative get an axis that doesn't dip below zero.
  return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}
