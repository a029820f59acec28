/** Modules as a table, most structure first: the ranking, and the heat map's twin for screen readers. */
import { h, replaceChildren } from '../shared/dom';
import { formatInteger, formatNumber, formatPercent } from '../shared/format';
import { moduleRows, type ModuleRow } from './exports';
import type { ExplorerState } from './state';

const columns: readonly {
  id: string;
  label: string;
  value: (row: ModuleRow) => number | string;
  text: (row: ModuleRow) => string;
}[] = [
  { id: 'module', label: 'Module', value: (r) => r.module, text: (r) => r.module },
  {
    id: 'structure',
    label: 'Structure (points)',
    value: (r) => r.structure ?? -Infinity,
    text: (r) => (r.structure === undefined ? '–' : formatNumber(r.structure * 100, 3)),
  },
  {
    id: 'kept',
    label: 'Kept energy',
    value: (r) => 1 - r.error ** 2,
    text: (r) => `${r.exact ? '' : '≈ '}${formatPercent(1 - r.error ** 2)}`,
  },
  {
    id: 'error',
    label: 'Relative error',
    value: (r) => r.error,
    text: (r) => `${r.exact ? '' : '≈ '}${formatPercent(r.error)}`,
  },
  {
    id: 'ranks',
    label: 'Bonds',
    value: (r) => Math.max(...r.ranks),
    text: (r) => r.ranks.join(', '),
  },
  {
    id: 'parameters',
    label: 'Parameters',
    value: (r) => r.parameters,
    text: (r) => formatInteger(r.parameters),
  },
  {
    id: 'compression',
    label: 'Compression',
    value: (r) => r.compression,
    text: (r) => `${formatNumber(r.compression, 3)} ×`,
  },
];

export class Ranking {
  readonly element = h('div', { class: 'ranking' });
  private readonly scroll = h('div', {
    class: 'table-scroll',
    attrs: { tabindex: 0, role: 'region', 'aria-label': 'Modules by structure' },
  });
  private sort = { id: 'structure', descending: true };
  private state: ExplorerState | undefined;
  private signature = '';

  constructor(private readonly select: (module: string) => void) {
    this.element.append(
      h('p', {
        class: 'muted small',
        text: 'Structure is the energy kept beyond both references at equal compression (beyond the Gaussian alone, any uneven spectrum would look like structure). It says how much of a weight a chain of cores can hold, and is no promise of better tuning.',
      }),
      this.scroll,
    );
  }

  update(state: ExplorerState): void {
    this.state = state;
    const rows = [...moduleRows(state)];
    const signature = JSON.stringify([rows, this.sort, state.view.selected]);
    if (signature === this.signature) return;
    this.signature = signature;
    const column = columns.find((c) => c.id === this.sort.id) ?? columns[0];
    if (column === undefined) return;
    const sign = this.sort.descending ? -1 : 1;
    rows.sort((a, b) => {
      const x = column.value(a);
      const y = column.value(b);
      return x === y ? 0 : x < y ? -sign : sign;
    });
    replaceChildren(
      this.scroll,
      h(
        'table',
        { class: 'data' },
        h('caption', { text: 'Modules by structure', class: 'sr-only' }),
        h('thead', {}, h('tr', {}, ...columns.map((c) => this.header(c.id, c.label)))),
        h('tbody', {}, ...rows.map((row) => this.row(row, state.view.selected === row.module))),
      ),
    );
  }

  private header(id: string, label: string): HTMLElement {
    const active = this.sort.id === id;
    const mark = active ? (this.sort.descending ? ' ↓' : ' ↑') : '';
    return h(
      'th',
      {
        class: id === 'module' ? 'text' : '',
        attrs: {
          scope: 'col',
          'aria-sort': active ? (this.sort.descending ? 'descending' : 'ascending') : undefined,
        },
      },
      h('button', {
        class: 'sort',
        text: `${label}${mark}`,
        attrs: { type: 'button' },
        on: {
          click: () => {
            this.sort = { id, descending: active ? !this.sort.descending : id !== 'module' };
            if (this.state !== undefined) this.update(this.state);
            // The header was rebuilt; the keyboard stays where it was.
            const headers = this.scroll.querySelectorAll<HTMLElement>('button.sort');
            headers[columns.findIndex((c) => c.id === id)]?.focus();
          },
        },
      }),
    );
  }

  private row(row: ModuleRow, selected: boolean): HTMLElement {
    return h(
      'tr',
      { class: selected ? 'selected' : '' },
      ...columns.map((c) =>
        c.id === 'module'
          ? h(
              'th',
              { class: 'text', attrs: { scope: 'row' } },
              h('button', {
                class: 'link',
                text: row.module,
                attrs: { type: 'button', 'aria-current': selected ? 'true' : undefined },
                on: {
                  click: () => {
                    this.select(row.module);
                  },
                },
              }),
            )
          : h('td', { text: c.text(row) }),
      ),
    );
  }
}
