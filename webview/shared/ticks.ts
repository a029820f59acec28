/** Axis ticks at round values. */

/**
 * Multiples of 1, 2 or 5 times a power of ten inside [min, max], at most about `count` of them.
 * @param least smallest distance, e.g. 1 where the labels are whole numbers
 */
export function linearTicks(min: number, max: number, count: number, least = 0): number[] {
  if (!Number.isFinite(min) || !Number.isFinite(max) || max < min || count < 1) return [];
  if (max === min) return [min];
  const raw = Math.max((max - min) / count, least);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * (1 - 1e-9)) ?? raw;
  const first = Math.ceil(min / step - 1e-9);
  const last = Math.floor(max / step + 1e-9);
  const ticks: number[] = [];
  for (let i = first; i <= last; i++) {
    // Rounding to the step's own precision avoids 0.30000000000000004.
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/** Powers of ten inside [min, max] (both positive); with 2 and 5 when fewer than three fit. */
export function logTicks(min: number, max: number, count: number): number[] {
  if (!(min > 0) || !(max >= min)) return [];
  const from = Math.floor(Math.log10(min) + 1e-9);
  const to = Math.ceil(Math.log10(max) - 1e-9);
  const decades = Math.max(1, Math.ceil((to - from) / Math.max(1, count)));
  const collect = (mantissas: readonly number[]): number[] => {
    const ticks: number[] = [];
    for (let e = from; e <= to; e += decades) {
      for (const m of mantissas) {
        const tick = Number(`${m}e${e}`);
        if (tick >= min * (1 - 1e-9) && tick <= max * (1 + 1e-9)) ticks.push(tick);
      }
    }
    return ticks;
  };
  const powers = collect([1]);
  if (powers.length >= 3) return powers;
  const fine = collect([1, 2, 5]);
  return fine.length >= 2 ? fine : linearTicks(min, max, count);
}
