/**
 * Follows `metrics.jsonl` by byte offset. What a line says is untrusted: numbers become columns,
 * everything else is kept as plain data for the view to show as text.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { isNumber, isObject, isString } from '../protocol/guards';
import type { JournalRow, RunState } from '../protocol/runFiles';
import { runStates } from '../protocol/runFiles';
import { runFileError } from './atomicFile';
import { Columns, evalFields, stepFields } from './journalColumns';
import { StepRowParser } from './stepRowParser';
import { readNoFollow } from './noFollow';

/** What the rows read since the last call changed. */
export interface JournalDelta {
  /** The journal was replaced or cut: everything read before is void. */
  reset: boolean;
  /**
   * Index of the first step (eval) row that is new; rows from there on replace what the caller held.
   * Smaller than before when a resumed trainer superseded rows.
   */
  stepsFrom: number;
  evalsFrom: number;
  /** The lowest step that a `resume` row of this delta went back to; rows above it are void. */
  supersedeAbove: number | undefined;
  /** Rows that are not numbers of a curve, in order. */
  events: JournalEvent[];
  /** Complete lines that were no row. */
  invalidLines: number;
}

export type JournalEvent = Exclude<JournalRow, { kind: 'step' } | { kind: 'eval' }>;

const chunkBytes = 4 << 20;
const newline = 0x0a;

export class JournalReader {
  readonly steps = new Columns(stepFields);
  readonly evals = new Columns(evalFields);
  readonly #file: string;
  readonly #parser = new StepRowParser();
  #offset = 0;
  #lastSeq = -1;
  #state: RunState | undefined;
  #reading: Promise<unknown> = Promise.resolve();

  /** @param file the journal; it may not exist yet */
  constructor(file: string) {
    this.#file = file;
  }

  /** Bytes of the journal that were taken in, all complete rows. */
  get offset(): number {
    return this.#offset;
  }

  /** Highest row number seen, -1 when none. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** The run's state by the last `state` row. */
  get state(): RunState | undefined {
    return this.#state;
  }

  /**
   * Takes in what was appended since the last call; a line without its newline waits for the next.
   * @throws DotaError `file.unreadable`
   */
  read(): Promise<JournalDelta> {
    // Two overlapping reads would take in the same bytes twice.
    const next = this.#reading.then(() => this.#read());
    this.#reading = next.catch(() => undefined);
    return next;
  }

  async #read(): Promise<JournalDelta> {
    const delta: JournalDelta = {
      reset: false,
      stepsFrom: this.steps.length,
      evalsFrom: this.evals.length,
      supersedeAbove: undefined,
      events: [],
      invalidLines: 0,
    };
    let handle: FileHandle;
    try {
      handle = await open(this.#file, readNoFollow);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return delta;
      throw runFileError(cause, this.#file);
    }
    try {
      const { size } = await handle.stat();
      if (size < this.#offset) this.#reset(delta);
      await this.#readUpTo(handle, size, delta);
    } catch (cause) {
      throw runFileError(cause, this.#file);
    } finally {
      await handle.close();
    }
    return delta;
  }

  async #readUpTo(handle: FileHandle, size: number, delta: JournalDelta): Promise<void> {
    let length = Math.min(chunkBytes, size - this.#offset);
    while (length > 0) {
      const buffer = Buffer.allocUnsafe(length);
      const { bytesRead } = await handle.read(buffer, 0, length, this.#offset);
      if (bytesRead === 0) return;
      const end = buffer.subarray(0, bytesRead).lastIndexOf(newline) + 1;
      if (end === 0) {
        // A line longer than the chunk, or the torn last line.
        if (this.#offset + bytesRead >= size) return;
        length = Math.min(length * 2, size - this.#offset);
        continue;
      }
      const before = this.steps.length;
      this.#takeLines(buffer.subarray(0, end), delta);
      this.#offset += end;
      // Growing again and again would copy all rows as often; the rest of the file is like this part.
      const rows = this.steps.length - before;
      if (rows > 0) this.steps.reserve(Math.ceil(((size - this.#offset) / end) * rows));
      length = Math.min(chunkBytes, size - this.#offset);
    }
  }

  #takeLines(bytes: Buffer, delta: JournalDelta): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#parser.parse(bytes, at)) {
        this.#lastSeq = Math.max(this.#lastSeq, this.#parser.values[0] ?? -1);
        this.steps.pushValues(this.#parser.values, 1);
        at = this.#parser.next;
        continue;
      }
      const end = bytes.indexOf(newline, at);
      const row = parseRow(bytes.toString('utf8', at, end));
      if (row === undefined) delta.invalidLines += 1;
      else this.#take(row, delta);
      at = end + 1;
    }
  }

  #take(row: JournalRow, delta: JournalDelta): void {
    this.#lastSeq = Math.max(this.#lastSeq, row.seq);
    switch (row.kind) {
      case 'step':
        this.steps.push(row);
        return;
      case 'eval':
        this.evals.push(row);
        return;
      case 'resume':
        this.#supersede(row.step, delta);
        break;
      case 'state':
        this.#state = row.state;
        break;
      case 'checkpoint':
      case 'message':
        break;
    }
    delta.events.push(row);
  }

  #supersede(step: number, delta: JournalDelta): void {
    this.steps.dropAbove('step', step);
    this.evals.dropAbove('step', step);
    delta.stepsFrom = Math.min(delta.stepsFrom, this.steps.length);
    delta.evalsFrom = Math.min(delta.evalsFrom, this.evals.length);
    delta.supersedeAbove = Math.min(delta.supersedeAbove ?? Infinity, step);
  }

  #reset(delta: JournalDelta): void {
    this.steps.clear();
    this.evals.clear();
    this.#offset = 0;
    this.#lastSeq = -1;
    this.#state = undefined;
    Object.assign(delta, { reset: true, stepsFrom: 0, evalsFrom: 0 });
  }
}

function parseRow(line: string): JournalRow | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(raw) || !isNumber(raw.seq)) return undefined;
  switch (raw.kind) {
    case 'step':
    case 'eval':
    case 'resume':
    case 'checkpoint':
      return isNumber(raw.step) ? (raw as unknown as JournalRow) : undefined;
    case 'state':
      return (runStates as readonly unknown[]).includes(raw.state)
        ? (raw as unknown as JournalRow)
        : undefined;
    case 'message':
      return isString(raw.text) ? (raw as unknown as JournalRow) : undefined;
    default:
      return undefined;
  }
}
