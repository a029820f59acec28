/** What every dataset reader yields, and the errors that all of them raise. */
import { DotaError } from '../../protocol/errors';

/**
 * A row as its file has it. Keys are attacker text: look them up with `field`, never spread or
 * assign a row into another object.
 */
export type Row = Readonly<Record<string, unknown>>;

export interface SourceRow {
  row: Row;
  /** Line in a text container (of the row's start), row number in Parquet; from 1. */
  line: number;
}

export interface ReadOptions {
  /** Called now and then with the share of the file that has been read, 0 to 1. */
  onProgress?: ((fraction: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Limits that no sensible dataset meets, so that a broken file fails instead of filling memory. */
export const rowLimits = { bytes: 16 * 1024 * 1024, depth: 64 } as const;

/** An own property of a row, or undefined; never one inherited from Object. */
export function field(row: Row, name: string): unknown {
  return Object.hasOwn(row, name) ? row[name] : undefined;
}

/** `data.malformed` at a line of a file. */
export function malformedRow(
  file: string,
  line: number,
  problem: string,
  next?: string,
): DotaError {
  return new DotaError('data.malformed', `${problem}.`, {
    where: `${file}:${line}`,
    next: next ?? 'Correct or remove this row.',
  });
}

/**
 * Parses the text of one row.
 * @throws DotaError `data.malformed` when it is no JSON object
 */
export function parseRow(text: string, file: string, line: number): Row {
  if (nestedTooDeep(text)) {
    throw malformedRow(file, line, `The row is nested deeper than ${rowLimits.depth} levels`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformedRow(file, line, `Not valid JSON: ${(cause as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformedRow(file, line, 'The row is not a JSON object');
  }
  return value as Row;
}

function nestedTooDeep(text: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (quoted) {
      if (c === 0x5c /* \ */) i++;
      else if (c === 0x22 /* " */) quoted = false;
    } else if (c === 0x22) quoted = true;
    else if (c === 0x7b /* { */ || c === 0x5b /* [ */) {
      if (++depth > rowLimits.depth) return true;
    } else if (c === 0x7d /* } */ || c === 0x5d /* ] */) depth--;
  }
  return false;
}
