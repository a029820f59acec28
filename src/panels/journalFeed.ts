/**
 * Turns a growing journal into the column messages of the metrics panel: only what is new, in pieces,
 * so that a million rows neither block the host nor cross in one message.
 */
import type { EvalColumns, StepColumns } from '../protocol/metricsPanel';
import { evalColumnNames, stepColumnNames } from '../protocol/metricsPanel';
import { JournalReader } from '../runs/journalReader';

export interface JournalPiece {
  /** Highest seq contained or superseded so far. */
  seq: number;
  reset: boolean;
  supersedeAbove?: number;
  steps: StepColumns;
  evals: EvalColumns;
  complete: boolean;
}

const pieceRows = 100_000;

export class JournalFeed {
  private readonly reader: JournalReader;
  /** Highest seq that was handed out; -1 = nothing. */
  private sent = -1;
  private fresh = true;

  /** @param file metrics.jsonl */
  constructor(file: string) {
    this.reader = new JournalReader(file);
  }

  /**
   * Where the panel stands. Held exactly what was handed out, it goes on from there; else everything
   * comes again, since rows carry no seq once they are columns.
   * @param since highest seq that the panel holds; -1 = nothing
   */
  seek(since: number): void {
    this.fresh = since !== this.sent || since === -1;
  }

  /**
   * Everything that was added since the last call; nothing when nothing was.
   * @throws DotaError `file.unreadable`
   */
  async *read(): AsyncGenerator<JournalPiece> {
    const { reader } = this;
    const delta = await reader.read();
    const reset = delta.reset || this.fresh;
    const stepsFrom = reset ? 0 : delta.stepsFrom;
    const evalsFrom = reset ? 0 : delta.evalsFrom;
    const changed =
      reset ||
      delta.supersedeAbove !== undefined ||
      stepsFrom < reader.steps.length ||
      evalsFrom < reader.evals.length;
    if (!changed) return;
    this.fresh = false;
    this.sent = reader.lastSeq;
    const total = reader.steps.length;
    let from = stepsFrom;
    do {
      const to = Math.min(from + pieceRows, total);
      const first = from === stepsFrom;
      yield {
        seq: this.sent,
        reset: first && reset,
        ...(first && !reset && delta.supersedeAbove !== undefined
          ? { supersedeAbove: delta.supersedeAbove }
          : {}),
        steps: slices(stepColumnNames, (name) =>
          reader.steps.column(name, from).slice(0, to - from),
        ),
        evals: slices(evalColumnNames, (name) =>
          first ? reader.evals.column(name, evalsFrom).slice() : new Float64Array(0),
        ),
        complete: to === total,
      };
      from = to;
    } while (from < total);
  }
}

function slices<K extends string>(
  names: readonly K[],
  of: (name: K) => Float64Array,
): Record<K, Float64Array> {
  return Object.fromEntries(names.map((name) => [name, of(name)])) as Record<K, Float64Array>;
}
