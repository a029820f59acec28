/** What the commands print: results on standard output, everything else on standard error. */
import {
  DotaError,
  exitCodeOf,
  formatError,
  serializeError,
  type ExitCode,
} from '../../protocol/errors';

export interface OutputOptions {
  json?: boolean;
}

/** A closed pipe (`dota ... | head`) is the reader's choice, not a failure of ours. */
export function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
}

/** One JSON object as a line, always the last of standard output. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Reports a failure and returns the exit code that belongs to it. */
export function reportError(error: unknown, options: OutputOptions): ExitCode {
  const serialized = serializeError(error);
  process.stderr.write(`dota: ${formatError(serialized)}\n`);
  if (!(error instanceof DotaError) && error instanceof Error && error.stack !== undefined) {
    process.stderr.write(`${error.stack}\n`);
  }
  if (options.json === true) printJson({ error: serialized });
  return exitCodeOf(serialized.code);
}

/** Left-aligned columns; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, c) => (c === row.length - 1 ? cell : cell.padEnd(widths[c] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `1h 02m`, `3m 05s`, `12s`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, '0');
  if (s >= 3600) return `${Math.floor(s / 3600)}h ${two(Math.floor((s % 3600) / 60))}m`;
  return s >= 60 ? `${Math.floor(s / 60)}m ${two(s % 60)}s` : `${s}s`;
}

export function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
