/** What the counts are called, and what they mean. */
import type { RowFlag } from '../../src/protocol/datasetPreview';

export interface FlagText {
  label: string;
  help: string;
}

export const flagTexts: Readonly<Record<RowFlag, FlagText>> = {
  truncated: {
    label: 'Truncated',
    help: 'Rows with more tokens than max_length; the truncation policy cuts or drops them.',
  },
  empty: { label: 'Empty', help: 'Rows with a blank answer; they are dropped.' },
  withoutLabels: {
    label: 'Nothing to learn',
    help: 'Rows that have no trained token left after the cut; they are dropped.',
  },
  doubleBos: {
    label: 'Double BOS',
    help: 'Rows that spell the beginning-of-text token which the tokenizer adds as well; one is kept.',
  },
  specialText: {
    label: 'Special-token text',
    help: 'Rows whose text spells a special token; it is encoded as plain text, never as the token.',
  },
  promptNotPrefix: {
    label: 'Shared token',
    help: 'Rows where prompt and answer, encoded together, share a token; they are encoded apart.',
  },
};
