/** What the dataset preview shows; made in the trainer child, drawn in a webview. */

/** What may be odd about a row; the report counts each. */
export const rowFlags = [
  'truncated',
  'empty',
  'withoutLabels',
  'doubleBos',
  'specialText',
  'promptNotPrefix',
] as const;
export type RowFlag = (typeof rowFlags)[number];

/** Rows that deserve a look are counted; a row may count in several places. */
export interface DatasetReport {
  /** True until the whole file has been read. */
  partial: boolean;
  /** Share of the file that has been read, 0 to 1. */
  fraction: number;
  rows: number;
  /** Sequences that are trained on. */
  examples: number;
  /** Rows longer than max_length (cut, or dropped by the truncation policy). */
  truncated: number;
  /** Rows with a blank answer, dropped. */
  empty: number;
  /** Rows with nothing left to learn after truncation, dropped. */
  withoutLabels: number;
  /** Rows that would have started with two BOS tokens; one is kept. */
  doubleBos: number;
  /** Rows whose text spells a special token; it stays plain text. */
  specialText: number;
  /** Rows where prompt and answer, encoded together, share a token. */
  promptNotPrefix: number;
  tokens: number;
  lossTokens: number;
  /** Tokens of the longest row before truncation. */
  longest: number;
  /** Rows by number of tokens before truncation; bounds inclusive. */
  histogram: { from: number; to: number; rows: number }[];
  /** Indices of flagged rows, from 0; the first `maxFlagged` of each kind. */
  flagged: Record<RowFlag, number[]>;
}

/** Rows of a kind whose places a report names. */
export const maxFlagged = 1000;

/** What the preview is of: the options of a configuration, as they are in force. */
export interface PreviewSettings {
  /** Absolute. */
  file: string;
  model: string;
  template: string;
  lossMask: string;
  maxLength: number;
  truncation: string;
}

export interface PreviewToken {
  /** What the token adds to the text; empty while a character is spread over several tokens. */
  text: string;
  id: number;
  /** Whether the loss counts it. */
  trained: boolean;
  special: boolean;
}

export interface PreviewRow {
  /** From 0, in the file's order. */
  index: number;
  /** Line (or Parquet row) in the file, from 1. */
  line: number;
  /** One entry a sequence; none when the row is dropped. */
  sequences: PreviewToken[][];
  /** Why the row is dropped or changed, in words. */
  remarks: string[];
}

export interface PreviewPage {
  /** Index of the first row on the page, from 0. */
  start: number;
  rows: PreviewRow[];
  /** Whether rows follow this page. */
  more: boolean;
}
