/**
 * Turns a growing journal into the column messages of the metrics panel. Reads only what is new, in
 * pieces, so that a million rows neither block the host nor cross in one message.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { isObject } from '../protocol/guards';
import type { EvalColumns, StepColumns } from '../protocol/metricsPanel';
import { evalColumnNames, stepColumnNames } from '../protocol/metricsPanel';

export interface JournalPiece {
  /** Highest seq contained or superseded so far. */
  seq: number;
  reset: boolean;
  supersedeAbove?: number;
  steps: StepColumns;
  evals: EvalColumns;
}

const pieceBytes = 4 * 1024 * 1024;
const pieceRows = 100_000;

export class JournalFeed {
  /** Bytes read so far, always at the start of a line. */
  private offset = 0;
  private seq = -1;
  private first = true;

  /**
   * @param file metrics.jsonl
   * @param since highest seq that the panel holds; -1 = nothing
   */
  constructor(
    private readonly file: string,
    private readonly since: number,
  ) {}

  /** Everything that was added since the last call; nothing when nothing was. */
  async *read(): AsyncGenerator<JournalPiece> {
    const handle = await open(this.file, 'r').catch(() => undefined);
    if (handle === undefined) return;
    try {
      const { size } = await handle.stat();
      const replaced = size < this.offset;
      if (replaced) {
        this.offset = 0;
        this.seq = -1;
      }
      let batch = new Batch(replaced);
      for (;;) {
        const rows = await this.nextRows(handle);
        if (rows === undefined) break;
        for (const row of rows) {
          const seq = typeof row.seq === 'number' ? row.seq : this.seq + 1;
          this.seq = Math.max(this.seq, seq);
          if (!replaced && seq <= this.since) continue;
          if (row.kind === 'resume' && typeof row.step === 'number') {
            // What came before stays valid up to that step: close the piece, start another.
            if (!batch.empty) yield batch.take(seq - 1);
            batch = new Batch(false, row.step);
          } else {
            batch.add(row);
          }
          if (batch.rows >= pieceRows) {
            yield batch.take(seq);
            batch = new Batch(false);
          }
        }
      }
      if (!batch.empty || this.first) yield batch.take(Math.max(this.seq, this.since));
      this.first = false;
    } finally {
      await handle.close();
    }
  }

  private async nextRows(handle: FileHandle): Promise<Row[] | undefined> {
    let length = pieceBytes;
    for (;;) {
      const buffer = Buffer.allocUnsafe(length);
      const { bytesRead } = await handle.read(buffer, 0, length, this.offset);
      const end = bytesRead === 0 ? -1 : buffer.lastIndexOf(10, bytesRead - 1);
      if (end === -1) {
        // A line longer than a piece is none of ours, but must not stop the reading.
        if (bytesRead < length || length > 16 * pieceBytes) return undefined;
        length *= 2;
        continue;
      }
      this.offset += end + 1;
      return parseLines(buffer.toString('utf8', 0, end));
    }
  }
}

type Row = Readonly<Record<string, unknown>>;

/** One call of JSON.parse for all lines is several times faster than one call a line. */
export function parseLines(text: string): Row[] {
  try {
    const rows: unknown = JSON.parse(`[${text.replaceAll('\n', ',')}]`);
    if (Array.isArray(rows) && rows.every(isObject)) return rows;
  } catch {
    // A damaged line somewhere: take the others.
  }
  const rows: Row[] = [];
  for (const line of text.split('\n')) {
    try {
      const row: unknown = JSON.parse(line);
      if (isObject(row)) rows.push(row);
    } catch {
      // Left out; the trainer's own reader reports it.
    }
  }
  return rows;
}

class Batch {
  private readonly steps: Row[] = [];
  private readonly evals: Row[] = [];

  constructor(
    private readonly reset: boolean,
    private readonly supersedeAbove?: number,
  ) {}

  get rows(): number {
    return this.steps.length + this.evals.length;
  }

  get empty(): boolean {
    return this.rows === 0 && !this.reset && this.supersedeAbove === undefined;
  }

  add(row: Row): void {
    if (row.kind === 'step') this.steps.push(row);
    else if (row.kind === 'eval') this.evals.push(row);
  }

  take(seq: number): JournalPiece {
    return {
      seq,
      reset: this.reset,
      ...(this.supersedeAbove === undefined ? {} : { supersedeAbove: this.supersedeAbove }),
      steps: columns(this.steps, stepColumnNames),
      evals: columns(this.evals, evalColumnNames),
    };
  }
}

/** A value that is no number (a loss that became NaN is null in JSON) stands as NaN. */
function columns<K extends string>(
  rows: readonly Row[],
  names: readonly K[],
): Record<K, Float64Array> {
  return Object.fromEntries(
    names.map((name) => {
      const column = new Float64Array(rows.length);
      for (let i = 0; i < rows.length; i++) {
        const value = rows[i]?.[name];
        column[i] = typeof value === 'number' ? value : Number.NaN;
      }
      return [name, column];
    }),
  ) as Record<K, Float64Array>;
}
