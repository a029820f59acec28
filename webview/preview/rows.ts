/** Rows as tokens. Trained text is told apart by a line below it as well as by its colour. */
import type { PreviewRow, PreviewToken } from '../../src/protocol/datasetPreview';
import { button, h, icon } from '../shared/dom';
import { formatInteger, plural } from '../shared/format';

type State = 'trained' | 'context';

export function rowElement(row: PreviewRow, onOpen: (line: number) => void): HTMLElement {
  const sequences = row.sequences.map((tokens, i) => sequenceElement(tokens, row, i));
  const trained = row.sequences.flat().filter((token) => token.trained).length;
  const tokens = row.sequences.reduce((sum, sequence) => sum + sequence.length, 0);
  const facts =
    tokens === 0
      ? 'dropped'
      : `${plural(tokens, 'token')}, ${formatInteger(trained)} trained on` +
        (row.sequences.length > 1 ? `, in ${row.sequences.length} sequences` : '');
  return h(
    'li',
    { class: 'row' },
    h(
      'div',
      { class: 'row-head' },
      h('h3', { text: `Row ${formatInteger(row.index + 1)}` }),
      h('span', { class: 'muted small number', text: facts }),
      h('span', { class: 'spring' }),
      button(
        `Line ${formatInteger(row.line)}`,
        () => {
          onOpen(row.line);
        },
        { icon: 'go-to-file', title: 'Open the file at this row' },
      ),
    ),
    ...row.remarks.map((text) =>
      h('p', { class: 'remark small' }, icon('info'), h('span', { text })),
    ),
    ...sequences,
  );
}

function sequenceElement(tokens: PreviewToken[], row: PreviewRow, number: number): HTMLElement {
  const many = row.sequences.length > 1;
  return h(
    'div',
    {
      class: 'tokens',
      attrs: {
        role: 'group',
        tabindex: 0,
        'aria-label': `Tokens of row ${row.index + 1}${many ? `, sequence ${number + 1}` : ''}`,
      },
    },
    ...runsOf(tokens).map(({ state, tokens: run }) =>
      h(
        state === 'trained' ? 'mark' : 'span',
        { class: `run ${state}` },
        // Read out where the colour cannot be seen.
        h('span', { class: 'sr-only', text: state === 'trained' ? ' trained: ' : ' context: ' }),
        ...run.map(tokenElement),
      ),
    ),
  );
}

function runsOf(tokens: readonly PreviewToken[]): { state: State; tokens: PreviewToken[] }[] {
  const runs: { state: State; tokens: PreviewToken[] }[] = [];
  for (const token of tokens) {
    const state: State = token.trained ? 'trained' : 'context';
    const last = runs.at(-1);
    if (last?.state === state) last.tokens.push(token);
    else runs.push({ state, tokens: [token] });
  }
  return runs;
}

function tokenElement(token: PreviewToken): HTMLElement {
  const shown = visible(token.text);
  return h('span', {
    class: `token${token.special ? ' special' : ''}${token.text === '' ? ' part' : ''}`,
    text: shown,
    attrs: { title: `id ${token.id}${token.special ? ', special token' : ''}` },
  });
}

/** Line ends and tabs get a sign beside what they do; other control characters only a sign. */
export function visible(text: string): string {
  if (text === '') return '·';
  return text
    .replace(/[^\P{Cc}\t\n]/gu, '\ufffd')
    .replaceAll('\n', '↵\n')
    .replaceAll('\t', '→\t');
}
