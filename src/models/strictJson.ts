/**
 * JSON from files that others wrote. `JSON.parse` keeps the last of two equal keys and takes 1.0 for
 * an integer, and a small file can hold millions of keys; this module adds the missing limits.
 */
import { DotaError } from '../protocol/errors';

export interface JsonLimits {
  /** Deepest nesting of objects and arrays. */
  maxDepth: number;
  /** Most object keys in the whole text. */
  maxKeys: number;
  /** Refuse numbers that are not written as plain non-negative integers. */
  onlyIntegers?: boolean;
}

/**
 * Parses with limits, refusing duplicate keys.
 * @param where file name for the message
 * @throws DotaError `file.malformed`
 */
export function parseStrictJson(text: string, where: string, limits: JsonLimits): unknown {
  const problem = scan(text, limits);
  if (problem !== undefined) throw malformed(problem, where);
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw malformed(`Not valid JSON: ${(cause as Error).message}`, where, cause);
  }
}

function malformed(problem: string, where: string, cause?: unknown): DotaError {
  return new DotaError('file.malformed', `${problem}.`, {
    where,
    next: 'The file is damaged or not what its name says; download it again.',
    cause,
  });
}

/** A parsed value as an object of own properties, or undefined. */
export function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/**
 * One pass over the text before it is parsed. It does not check the grammar (the parser does); it
 * reports what the parser would accept silently or only at great expense.
 */
function scan(text: string, limits: JsonLimits): string | undefined {
  const scopes: (Set<string> | undefined)[] = [];
  let keys = 0;
  let i = 0;
  while (i < text.length) {
    const c = text.charCodeAt(i);
    if (c === 0x7b /* { */ || c === 0x5b /* [ */) {
      if (scopes.length >= limits.maxDepth) return `Nested deeper than ${limits.maxDepth} levels`;
      scopes.push(c === 0x7b ? new Set() : undefined);
      i++;
    } else if (c === 0x7d /* } */ || c === 0x5d /* ] */) {
      scopes.pop();
      i++;
    } else if (c === 0x22 /* " */) {
      const end = endOfString(text, i);
      const scope = scopes[scopes.length - 1];
      if (scope !== undefined && nextSolid(text, end) === 0x3a /* : */) {
        if (++keys > limits.maxKeys) return `More than ${limits.maxKeys} keys`;
        const key = unescape(text.slice(i, end));
        if (scope.has(key)) return `The key ${JSON.stringify(key)} occurs twice`;
        scope.add(key);
      }
      i = end;
    } else if (c === 0x2d /* - */ || (c >= 0x30 && c <= 0x39)) {
      const start = i;
      while (i < text.length && isNumberChar(text.charCodeAt(i))) i++;
      if (limits.onlyIntegers === true) {
        const lexeme = text.slice(start, i);
        if (!/^[0-9]+$/.test(lexeme)) return `${lexeme.slice(0, 40)} is not a plain integer`;
      }
    } else {
      i++;
    }
  }
  return undefined;
}

/** Index after the closing quote (or the end of the text). */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length) {
    const c = text.charCodeAt(i);
    if (c === 0x22) return i + 1;
    i += c === 0x5c /* \ */ ? 2 : 1;
  }
  return text.length;
}

function nextSolid(text: string, from: number): number {
  let i = from;
  while (i < text.length && text.charCodeAt(i) <= 0x20) i++;
  return text.charCodeAt(i);
}

function isNumberChar(c: number): boolean {
  return (c >= 0x30 && c <= 0x39) || c === 0x2d || c === 0x2b || c === 0x2e || (c | 0x20) === 0x65;
}

/** Two spellings of one key (`"a"`, `"\u0061"`) are duplicates. */
function unescape(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}
