/** Numbers as the trees and the status bar show them. */

const grouped = new Intl.NumberFormat('en-US');

/** 1234567 -> `1,234,567`. */
export function formatCount(n: number): string {
  return grouped.format(n);
}

/** 1234567 -> `1.23 M`; below 10,000 the number itself. */
export function formatShort(n: number): string {
  if (n < 10_000) return formatCount(n);
  for (const [unit, size] of [
    ['k', 1e3],
    ['M', 1e6],
    ['B', 1e9],
  ] as const) {
    if (n < size * 999.5) return `${(n / size).toPrecision(3)} ${unit}`;
  }
  return `${(n / 1e12).toPrecision(3)} T`;
}

/** Bytes in binary units: `1.5 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : Number(value.toPrecision(3))} ${units[unit]}`;
}

/** `[768, 768]` -> `768 × 768`. */
export function formatShape(shape: readonly number[]): string {
  return shape.length === 0 ? 'scalar' : shape.join(' × ');
}

/** 0.9731 -> `97.3 %`; near the ends enough digits not to say 100 % of something lossy. */
export function formatPercent(share: number): string {
  const percent = share * 100;
  const fromEnd = Math.min(percent, 100 - percent);
  const digits = fromEnd <= 0 || fromEnd >= 0.05 ? 1 : fromEnd >= 0.0005 ? 3 : 5;
  return `${percent.toFixed(digits)} %`;
}

/** Seconds as `45 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 === 0 ? `${s / 60} min` : `${Math.floor(s / 60)} min ${s % 60} s`;
  const minutes = Math.round(s / 60);
  return minutes % 60 === 0
    ? `${minutes / 60} h`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function formatLoss(loss: number): string {
  return Math.abs(loss) >= 0.001 || loss === 0 ? loss.toFixed(3) : loss.toExponential(1);
}

/** `1 layer`, `32 layers`. */
export function countLayers(count: number): string {
  return count === 1 ? '1 layer' : `${count} layers`;
}
