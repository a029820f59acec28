/** Pure formatters for numbers with units, shared by both panels. Locale-independent (English). */

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** Shown where a value is missing or not finite, so that a hole never looks like a zero. */
export const MISSING = '–';

/** `digits` significant digits, without trailing zeros; exponent form below 1e-3 and from 1e6. */
export function formatNumber(value: number | undefined, digits = 4): string {
  if (value === undefined || Number.isNaN(value)) return MISSING;
  if (value === Infinity) return '∞';
  if (value === -Infinity) return '−∞';
  if (value === 0) return '0';
  // As rounded: 0.00099999 reads like the 0.001 that it stands beside.
  const size = Math.abs(Number(value.toPrecision(digits)));
  const text =
    size < 1e-3 || size >= 1e6
      ? trimExponent(value.toExponential(digits - 1))
      : trimZeros(value.toPrecision(digits));
  return text.replace(/^-/, '−');
}

function trimZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

function trimExponent(text: string): string {
  const [mantissa = '', exponent = ''] = text.split('e');
  return `${trimZeros(mantissa)}e${exponent.replace('+', '').replace('-', '−')}`;
}

/** A fixed number of decimals, so that columns of values line up. */
export function formatFixed(value: number | undefined, decimals: number): string {
  if (value === undefined || !Number.isFinite(value)) return MISSING;
  return value.toFixed(decimals).replace(/^-/, '−');
}

/** Integers with thousands separators. */
export function formatInteger(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return MISSING;
  return grouped.format(Math.round(value)).replace(/^-/, '−');
}

/** Counts in short: `950`, `12.3 k`, `1.10 M`, `7.24 B`. */
export function formatCount(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  if (size < 1000) return trimZeros(value.toFixed(1));
  for (const [limit, factor, unit] of [
    [999_500, 1e3, 'k'],
    [999_500_000, 1e6, 'M'],
    [Infinity, 1e9, 'B'],
  ] as const) {
    if (size < limit) return `${(value / factor).toPrecision(3)} ${unit}`;
  }
  return MISSING;
}

/** Bytes in decimal units: `512 B`, `1.2 MB`. */
export function formatBytes(bytes: number | undefined): string {
  if (bytes === undefined || !Number.isFinite(bytes)) return MISSING;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const;
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? String(Math.round(value)) : value.toPrecision(3)} ${units[unit] ?? ''}`;
}

/** Megabytes without their unit, with as many digits as tell a little from nothing: `812`, `0.2`. */
export function formatMegabytes(mb: number | undefined): string {
  return mb !== undefined && Math.abs(mb) < 9.95 ? formatNumber(mb, 2) : formatInteger(mb);
}

/** Seconds as `45 s`, `3 min 20 s`, `1 h 02 min`, `2 d 03 h`. */
export function formatDuration(seconds: number | undefined): string {
  if (seconds === undefined || !Number.isFinite(seconds) || seconds < 0) return MISSING;
  if (seconds < 9.95) return `${trimZeros(seconds.toFixed(1))} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const pad = (n: number): string => String(n).padStart(2, '0');
  if (s < 3600) return `${Math.floor(s / 60)} min ${pad(s % 60)} s`;
  const m = Math.round(s / 60);
  if (m < 24 * 60) return `${Math.floor(m / 60)} h ${pad(m % 60)} min`;
  const h = Math.round(s / 3600);
  return `${Math.floor(h / 24)} d ${pad(h % 24)} h`;
}

/** A share in [0, 1] as a percentage; keeps digits near 0 % and 100 % where they matter. */
export function formatPercent(share: number | undefined, digits = 3): string {
  if (share === undefined || !Number.isFinite(share)) return MISSING;
  const percent = share * 100;
  if (percent === 0 || percent === 100) return `${percent} %`;
  // Near 100 % the distance to 100 carries the information: 99.9987 %, not 100 %.
  const gap = Math.min(Math.abs(percent), Math.abs(100 - percent));
  const decimals =
    percent > 50
      ? Math.min(6, Math.max(1, digits - 2, 1 - Math.floor(Math.log10(gap || 1))))
      : Math.min(6, Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(percent)))));
  return `${trimZeros(percent.toFixed(decimals)).replace(/^-/, '−')} %`;
}

/** `4096 × 4096`. */
export function formatShape(shape: readonly number[]): string {
  return shape.map(String).join(' × ');
}

/** `1 run`, `2 runs`. */
export function plural(count: number, singular: string, several = `${singular}s`): string {
  return `${formatInteger(count)} ${count === 1 ? singular : several}`;
}
