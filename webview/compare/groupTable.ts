/** The table of groups: what the drawings show, for reading and for screen readers. */
import type { RunGroup } from '../../src/compare/groups';
import { comparisonColumns } from '../../src/compare/tables';
import { h, replaceChildren, setText } from '../shared/dom';
import { formatInteger } from '../shared/format';
import { legendMark, styleOf } from '../shared/legendMark';
import type { Theme } from '../shared/theme';

export class GroupTable {
  readonly element: HTMLElement;
  private readonly caption = h('span');
  private readonly head = h('thead');
  private readonly body = h('tbody');
  private signature = '';

  constructor(private readonly onShow: (key: string, shown: boolean) => void) {
    this.element = h(
      'div',
      {
        class: 'table-scroll groups',
        attrs: { tabindex: 0, role: 'region', 'aria-label': 'Compared groups' },
      },
      h('table', { class: 'data' }, h('caption', {}, this.caption), this.head, this.body),
    );
  }

  update(groups: readonly RunGroup[], hidden: readonly string[], theme: Theme): void {
    const signature = JSON.stringify([groups, hidden, theme]);
    // Rebuilding would take the focus from a box that was just pressed.
    if (signature === this.signature) return;
    this.signature = signature;
    const focused = document.activeElement?.getAttribute('data-group');
    const columns = comparisonColumns(groups);
    setText(
      this.caption,
      'Losses in nats per token. ± is half the 95 % interval of the mean over seeds (Student’s t); in brackets, the 95 % interval of one run’s answers (Wilson).',
    );
    replaceChildren(
      this.head,
      h(
        'tr',
        {},
        ...columns.map(({ title, numeric }) =>
          h('th', { text: title, class: numeric ? '' : 'text', attrs: { scope: 'col' } }),
        ),
      ),
    );
    replaceChildren(
      this.body,
      ...groups.map((group, slot) =>
        h(
          'tr',
          { class: hidden.includes(group.key) ? 'off' : '' },
          this.nameCell(group, slot, hidden, theme),
          ...columns.slice(1).map(({ cell, numeric }) => {
            const text = grouped(cell(group));
            return h('td', { text, class: numeric ? '' : 'text', attrs: { title: text } });
          }),
        ),
      ),
    );
    if (focused != null) {
      [...this.body.querySelectorAll('input')]
        .find((input) => input.dataset.group === focused)
        ?.focus();
    }
  }

  private nameCell(
    group: RunGroup,
    slot: number,
    hidden: readonly string[],
    theme: Theme,
  ): HTMLElement {
    const box = h('input', {
      attrs: {
        type: 'checkbox',
        'data-group': group.key,
        'aria-label': `Draw ${group.label}`,
      },
      on: {
        change: () => {
          this.onShow(group.key, box.checked);
        },
      },
    });
    box.checked = !hidden.includes(group.key);
    return h(
      'th',
      { class: 'text', attrs: { scope: 'row', title: group.label } },
      h('label', {}, box, legendMark(styleOf(theme, slot)), h('span', { text: group.label })),
    );
  }
}

/** Large counts in groups of three; in exported tables they stay as a program reads them. */
function grouped(text: string): string {
  return /^\d{4,}$/.test(text) ? formatInteger(Number(text)) : text;
}
