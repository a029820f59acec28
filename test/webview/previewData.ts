/** A page and counts as `dota preview --stream` gives them. */
import type {
  DatasetReport,
  PreviewPage,
  PreviewRow,
  PreviewSettings,
  PreviewToken,
} from '../../src/protocol/datasetPreview';

export const settings: PreviewSettings = {
  file: '/home/ada/project/data/commonsense.jsonl',
  model: '/home/ada/models/Llama-3.2-1B',
  template: 'alpaca',
  lossMask: 'completion',
  maxLength: 256,
  truncation: 'keep_start',
};

function tokens(text: string, trained: boolean): PreviewToken[] {
  return (text.match(/\s?\S+|\s+/g) ?? []).map((piece, i) => ({
    text: piece,
    id: 1000 + i,
    trained,
    special: false,
  }));
}

const special = (text: string, trained: boolean): PreviewToken => ({
  text,
  id: 128_000,
  trained,
  special: true,
});

export function row(index: number, remarks: string[] = []): PreviewRow {
  const prompt =
    'Below is an instruction that describes a task.\n\n### Instruction:\n' +
    `Question ${index}: where would one look for a tensor network?\tThink first.\n\n### Response:\n`;
  const answer = 'In a chain of cores, naïvely «ordered» from left to right.';
  return {
    index,
    line: index + 1,
    sequences: [
      [
        special('<|begin_of_text|>', false),
        ...tokens(prompt, false),
        ...tokens(answer, true),
        special('<|end_of_text|>', true),
      ],
    ],
    remarks,
  };
}

export const page: PreviewPage = {
  start: 0,
  rows: [
    row(0),
    row(1, ['Cut from 311 tokens.', 'A second BOS token was left out.']),
    { index: 2, line: 3, sequences: [], remarks: ['Dropped: the answer is blank.'] },
    ...Array.from({ length: 17 }, (_, i) => row(i + 3)),
  ],
  more: true,
};

export function report(change: Partial<DatasetReport> = {}): DatasetReport {
  return {
    partial: false,
    fraction: 1,
    rows: 100_000,
    examples: 99_959,
    truncated: 1312,
    empty: 41,
    withoutLabels: 0,
    doubleBos: 7,
    specialText: 3,
    promptNotPrefix: 0,
    tokens: 9_204_311,
    lossTokens: 1_804_220,
    longest: 611,
    histogram: Array.from({ length: 25 }, (_, i) => ({
      from: i * 25,
      to: i * 25 + 24,
      rows: Math.round(18_000 * Math.exp(-(((i - 4) / 3) ** 2)) + (i > 8 ? 90 : 0)),
    })),
    flagged: {
      truncated: [1, 33, 57],
      empty: [2],
      withoutLabels: [],
      doubleBos: [1],
      specialText: [8],
      promptNotPrefix: [],
    },
    ...change,
  };
}
