/** Appends to `metrics.jsonl`. One writer at a time: the holder of the run's lock. */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import type { JournalRow } from '../protocol/runFiles';
import { runFileError } from './atomicFile';

/** A row before the journal has numbered it. */
export type NewRow = JournalRow extends infer Row
  ? Row extends JournalRow
    ? Omit<Row, 'seq'>
    : never
  : never;

/** A row is at the mercy of a power failure for at most this long; a killed process loses none. */
const syncIntervalMs = 2000;

/**
 * Synchronous on purpose: rows are small and few (one a step), their order is the order of the
 * calls, and a returned `append` has reached the operating system.
 */
export class JournalWriter {
  readonly #file: string;
  readonly #fd: number;
  #bytes: number;
  #nextSeq: number;
  #lastSync = Date.now();

  /**
   * Opens or creates the journal and cuts off a torn last line.
   * @throws DotaError `file.unreadable`, `file.diskFull`
   */
  constructor(file: string) {
    this.#file = file;
    try {
      this.#fd = openSync(file, 'a+');
      const size = fstatSync(this.#fd).size;
      const tail = readTail(this.#fd, size);
      this.#bytes = tail.end;
      if (tail.end < size) ftruncateSync(this.#fd, tail.end);
      this.#nextSeq = tail.lastSeq + 1;
    } catch (cause) {
      throw runFileError(cause, file);
    }
  }

  /** Bytes of complete rows. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Appends a row and returns it numbered. Rows about the run's state are synced at once.
   * @throws DotaError `file.diskFull`; the journal then ends before this row
   */
  append(row: NewRow): JournalRow {
    const numbered = inOrder(row, this.#nextSeq);
    const line = Buffer.from(`${JSON.stringify(numbered)}\n`, 'utf8');
    try {
      let done = 0;
      while (done < line.length) done += writeSync(this.#fd, line, done);
    } catch (cause) {
      ftruncateSync(this.#fd, this.#bytes);
      throw runFileError(cause, this.#file);
    }
    this.#bytes += line.length;
    this.#nextSeq += 1;
    if (
      row.kind === 'state' ||
      row.kind === 'resume' ||
      Date.now() - this.#lastSync > syncIntervalMs
    ) {
      this.sync();
    }
    return numbered;
  }

  /** Makes everything appended durable; called before a checkpoint that builds on it. */
  sync(): void {
    try {
      fsyncSync(this.#fd);
    } catch (cause) {
      throw runFileError(cause, this.#file);
    }
    this.#lastSync = Date.now();
  }

  close(): void {
    this.sync();
    closeSync(this.#fd);
  }
}

/** Step rows have a fixed order of keys, which the reader has a fast path for. */
function inOrder(row: NewRow, seq: number): JournalRow {
  if (row.kind !== 'step') {
    const { kind, ...rest } = row;
    return { kind, seq, ...rest } as JournalRow;
  }
  const { step, epoch, loss, learningRate, gradNorm, tokens } = row;
  return {
    kind: 'step',
    seq,
    step,
    epoch: rounded(epoch, 1e6),
    loss,
    learningRate,
    gradNorm,
    tokens,
    // Measurements, to the precision they have.
    tokensPerSecond: rounded(row.tokensPerSecond, 10),
    rssMb: rounded(row.rssMb, 10),
    elapsed: rounded(row.elapsed, 1e4),
    ...(row.deviceMb === undefined ? {} : { deviceMb: rounded(row.deviceMb, 10) }),
  };
}

function rounded(value: number, scale: number): number {
  return Math.round(value * scale) / scale;
}

/** Where the last complete line ends, and its number (-1 in an empty journal). */
function readTail(fd: number, size: number): { end: number; lastSeq: number } {
  // Windows of growing size from the end, until one holds a complete row.
  for (let length = 64 * 1024; ; length *= 4) {
    const start = Math.max(0, size - length);
    const bytes = Buffer.alloc(size - start);
    let done = 0;
    while (done < bytes.length) {
      const read = readSync(fd, bytes, done, bytes.length - done, start + done);
      if (read === 0) break;
      done += read;
    }
    const end = bytes.lastIndexOf(0x0a) + 1;
    const lines = bytes.subarray(0, end).toString('utf8').split('\n');
    for (let i = lines.length - 1; i >= (start === 0 ? 0 : 1); i -= 1) {
      const seq = seqOf(lines[i] ?? '');
      if (seq !== undefined) return { end: start + end, lastSeq: seq };
    }
    if (start === 0) return { end, lastSeq: -1 };
  }
}

function seqOf(line: string): number | undefined {
  try {
    const row: unknown = JSON.parse(line);
    if (typeof row !== 'object' || row === null || !('seq' in row)) return undefined;
    return Number.isSafeInteger(row.seq) ? (row.seq as number) : undefined;
  } catch {
    return undefined;
  }
}
