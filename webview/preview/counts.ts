/** Totals, and the counts of odd rows, each a button that filters the rows. */
import { rowFlags, type DatasetReport, type RowFlag } from '../../src/protocol/datasetPreview';
import { h, replaceChildren, setAttr, setText } from '../shared/dom';
import { formatInteger, formatPercent, MISSING } from '../shared/format';
import { flagTexts } from './flags';

const totals = ['Rows', 'Sequences', 'Tokens', 'Trained on'] as const;

export class Counts {
  readonly element = h('div', { class: 'counts' });
  readonly #totals = new Map<string, { value: HTMLElement; note: HTMLElement }>();
  readonly #flags = new Map<RowFlag, { button: HTMLButtonElement; value: HTMLElement }>();

  constructor(onFilter: (flag: RowFlag) => void) {
    const tiles = totals.map((label) => {
      const value = h('dd', { class: 'value', text: MISSING });
      const note = h('dd', { class: 'note' });
      this.#totals.set(label, { value, note });
      return h('div', { class: 'tile' }, h('dt', { text: label }), value, note);
    });
    const buttons = rowFlags.map((flag) => {
      const { label, help } = flagTexts[flag];
      const value = h('span', { class: 'flag-value number', text: MISSING });
      const node = h(
        'button',
        {
          class: 'button flag',
          attrs: { type: 'button', title: help, 'aria-pressed': 'false', disabled: true },
          on: {
            click: () => {
              onFilter(flag);
            },
          },
        },
        value,
        h('span', { text: label }),
      );
      this.#flags.set(flag, { button: node, value });
      return node;
    });
    replaceChildren(
      this.element,
      h('dl', { class: 'tiles' }, ...tiles),
      h(
        'div',
        { class: 'flags', attrs: { role: 'group', 'aria-label': 'Show only rows of a kind' } },
        ...buttons,
      ),
    );
  }

  show(report: DatasetReport | undefined, filter: RowFlag | undefined): void {
    const soFar = report?.partial === true ? 'so far' : '';
    const share =
      report === undefined || report.tokens === 0 ? undefined : report.lossTokens / report.tokens;
    this.#total('Rows', report?.rows, soFar);
    this.#total('Sequences', report?.examples, soFar);
    this.#total('Tokens', report?.tokens, soFar);
    this.#total(
      'Trained on',
      report?.lossTokens,
      share === undefined ? soFar : `${formatPercent(share)} of the tokens`,
    );
    for (const [flag, { button, value }] of this.#flags) {
      const count = report?.[flag];
      setText(value, count === undefined ? MISSING : formatInteger(count));
      setAttr(button, 'disabled', count === undefined || (count === 0 && filter !== flag));
      setAttr(button, 'aria-pressed', String(filter === flag));
      button.classList.toggle('some', (count ?? 0) > 0);
    }
  }

  #total(label: (typeof totals)[number], value: number | undefined, note: string): void {
    const tile = this.#totals.get(label);
    if (tile === undefined) return;
    setText(tile.value, formatInteger(value));
    setText(tile.note, note);
  }
}
