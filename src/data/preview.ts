/**
 * The dataset preview: pages of rows as tokens at once, counts over the whole file as they come in.
 * Runs in the trainer child, since it renders chat templates.
 */
import type { Tokenizer } from '../models/tokenizer';
import type {
  DatasetReport,
  PreviewPage,
  PreviewRow,
  PreviewToken,
} from '../protocol/datasetPreview';
import { DotaError } from '../protocol/errors';
import { ExampleEncoder, type EncodedRow, type ExampleOptions } from './examples';
import { readRows } from './readers/dataset';
import { ReportBuilder } from './report';

/** Tokens shown of a sequence; a page must not carry a book. */
const maxShownTokens = 4096;
/** Milliseconds of counting between two reports. */
const reportInterval = 250;

export class DatasetPreview {
  private readonly encoder: ExampleEncoder;

  constructor(
    private readonly file: string,
    private readonly tokenizer: Tokenizer,
    options: ExampleOptions,
  ) {
    this.encoder = new ExampleEncoder(tokenizer, options);
  }

  /**
   * Rows `start` to `start + count - 1`. Reads no further than the page; rows before it are skipped
   * without being tokenized. A row that cannot be rendered is shown with the reason.
   * @throws DotaError `file.missing`, `file.unreadable`, `data.malformed`, `data.empty`
   */
  async page(start: number, count: number, signal?: AbortSignal): Promise<PreviewPage> {
    const rows: PreviewRow[] = [];
    let index = 0;
    for await (const { row, line } of readRows(this.file, { signal })) {
      if (index >= start + count) return { start, rows, more: true };
      if (index >= start) rows.push(this.show(row, line, index));
      index++;
    }
    return { start, rows, more: false };
  }

  /**
   * The rows at these indices, in the file's order; `start` of the page is 0.
   * @throws DotaError as `page`
   */
  async rowsAt(indices: readonly number[], signal?: AbortSignal): Promise<PreviewPage> {
    const wanted = new Set(indices);
    const rows: PreviewRow[] = [];
    let index = 0;
    for await (const { row, line } of readRows(this.file, { signal })) {
      if (rows.length === wanted.size) break;
      if (wanted.has(index)) rows.push(this.show(row, line, index));
      index++;
    }
    return { start: 0, rows, more: false };
  }

  /**
   * Counts over the whole file. Reports a few times a second, marked partial until the end, and
   * lets other work run in between.
   * @throws DotaError as `page`, and for the first row that cannot be rendered
   */
  async count(
    onReport: (report: DatasetReport) => void,
    signal?: AbortSignal,
  ): Promise<DatasetReport> {
    const builder = new ReportBuilder();
    let fraction = 0;
    let reported = performance.now();
    const onProgress = (value: number): void => {
      fraction = value;
    };
    for await (const { row, line } of readRows(this.file, { onProgress, signal })) {
      builder.add(this.encoder.encode(row, { file: this.file, line }));
      if (performance.now() - reported < reportInterval) continue;
      // The last chunk of the file is read before its rows are counted.
      onReport(builder.snapshot(Math.min(fraction, 0.999)));
      await new Promise((resolve) => setImmediate(resolve));
      reported = performance.now();
    }
    const report = builder.snapshot(1);
    onReport(report);
    return report;
  }

  private show(row: Readonly<Record<string, unknown>>, line: number, index: number): PreviewRow {
    let encoded: EncodedRow;
    try {
      encoded = this.encoder.encode(row, { file: this.file, line });
    } catch (error) {
      if (!(error instanceof DotaError)) throw error;
      return { index, line, sequences: [], remarks: [error.message] };
    }
    const sequences = encoded.examples.map(({ inputIds, lossMask }) => {
      const ids = inputIds.slice(0, maxShownTokens);
      const texts = this.tokenizer.pieces.texts(ids);
      return ids.map((id, i): PreviewToken => ({
        text: texts[i] ?? '',
        id,
        trained: i > 0 && lossMask[i] === 1,
        special: this.tokenizer.isSpecial(id),
      }));
    });
    return { index, line, sequences, remarks: remarksOf(encoded) };
  }
}

function remarksOf({ notes, examples }: EncodedRow): string[] {
  const remarks: string[] = [];
  if (notes.empty) remarks.push('Dropped: the answer is blank.');
  if (notes.truncated) {
    const dropped = examples.length === 0 && !notes.withoutLabels;
    remarks.push(
      dropped
        ? `Dropped: ${notes.length} tokens are too long.`
        : `Cut from ${notes.length} tokens.`,
    );
  }
  if (notes.withoutLabels) remarks.push('Dropped: nothing is left to learn after the cut.');
  if (notes.doubleBos) remarks.push('A second BOS token was left out.');
  if (notes.specialText > 0) {
    remarks.push(`Spells a special token ${notes.specialText} times; it stays plain text.`);
  }
  if (notes.promptNotPrefix) remarks.push('Prompt and answer share a token when encoded together.');
  return remarks;
}
