/** Numbers from the command line. */
import { DotaError } from '../../protocol/errors';

/** @throws DotaError `usage` */
export function positiveOption(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new DotaError('usage', `${name} needs a positive number, got "${text}".`);
  }
  return value;
}

/**
 * A number within bounds, both included.
 * @throws DotaError `usage`
 */
export function numberOption(
  name: string,
  text: string | undefined,
  { low, high = Infinity, whole = false }: { low: number; high?: number; whole?: boolean },
): number | undefined {
  if (text === undefined) return undefined;
  const value = text.trim() === '' ? NaN : Number(text);
  if (value >= low && value <= high && (!whole || Number.isSafeInteger(value))) return value;
  const range = high === Infinity ? `at least ${low}` : `from ${low} to ${high}`;
  const kind = whole ? 'a whole number' : 'a number';
  throw new DotaError('usage', `${name} needs ${kind} ${range}, got "${text}".`);
}
