/** Small checks for messages that cross a process boundary; no dependency, so that webviews stay small. */

export type Fields = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isString(value: unknown): value is string {
  return typeof value === 'string';
}

/** A finite number. */
export function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

export function isBoolean(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

export function isStringArray(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isString);
}

export function isOneOf<T extends string>(values: readonly T[], value: unknown): value is T {
  return isString(value) && (values as readonly string[]).includes(value);
}

export function isOptional<T>(
  check: (value: unknown) => value is T,
  value: unknown,
): value is T | undefined {
  return value === undefined || check(value);
}
