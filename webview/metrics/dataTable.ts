/** The rows behind the charts, exact and paged: the charts' twin for screen readers. */
import type { RunSummary } from '../../src/protocol/metricsPanel';
import { nearestIndex } from '../chart/reduce';
import { button, h, replaceChildren, setText } from '../shared/dom';
import { formatFixed, formatInteger, formatMegabytes, formatNumber } from '../shared/format';
import type { RunData } from './runData';

const PAGE = 100;
const columns = [
  ['Step', ''],
  ['Tokens', ''],
  ['Training time', 's'],
  ['Training loss', 'nats/token'],
  ['Validation loss', 'nats/token'],
  ['Learning rate', ''],
  ['Gradient norm', 'L2'],
  ['Speed', 'tokens/s'],
  ['Memory', 'MB'],
] as const;
/** Last, and only there where the run is on a GPU. */
const gpuColumn = ['GPU memory', 'MB'] as const;

function headCell([name, unit]: readonly [string, string]): HTMLElement {
  return h('th', { attrs: { scope: 'col' } }, name, h('span', { class: 'unit', text: unit }));
}

export class DataTable {
  readonly element = h('section', { attrs: { 'aria-label': 'Data table' } });
  private readonly summary = h('div', { class: 'summary' });
  private readonly body = h('tbody');
  private readonly caption = h('span');
  private readonly where = h('span', { class: 'number' });
  private readonly gpuHead = headCell(gpuColumn);
  private readonly pager: HTMLButtonElement[];
  /** Page shown; undefined = the last one, following the run. */
  private page: number | undefined;
  private run: string | undefined;
  private redraw: () => void = () => undefined;

  constructor() {
    const go = (to: (current: number, last: number) => number | undefined): (() => void) => {
      return () => {
        this.page = to(this.page ?? this.lastPage, this.lastPage);
        this.redraw();
      };
    };
    this.pager = [
      button(
        'First page',
        go(() => 0),
        { icon: 'chevron-up', kind: 'tool', title: 'First page' },
      ),
      button(
        'Previous page',
        go((p) => Math.max(0, p - 1)),
        { icon: 'chevron-left', kind: 'tool', title: 'Previous page' },
      ),
      button(
        'Next page',
        go((p, last) => (p + 1 >= last ? undefined : p + 1)),
        { icon: 'chevron-right', kind: 'tool', title: 'Next page' },
      ),
      button(
        'Last page',
        go(() => undefined),
        { icon: 'chevron-down', kind: 'tool', title: 'Last page (follows the run)' },
      ),
    ];
    const head = h('tr', {}, ...columns.map(headCell), this.gpuHead);
    this.element.append(
      this.summary,
      h('div', { class: 'pager' }, this.where, h('span', { class: 'spring' }), ...this.pager),
      h(
        'div',
        {
          class: 'table-scroll',
          attrs: { tabindex: 0, role: 'region', 'aria-label': 'Rows of the run' },
        },
        h(
          'table',
          { class: 'data' },
          h('caption', {}, this.caption),
          h('thead', {}, head),
          this.body,
        ),
      ),
    );
  }

  private lastPage = 0;

  update(run: RunSummary, data: RunData, summaries: readonly string[]): void {
    if (this.run !== run.id) {
      this.run = run.id;
      this.page = undefined;
    }
    this.redraw = () => {
      this.update(run, data, summaries);
    };
    replaceChildren(this.summary, ...summaries.map((text) => h('p', { text })));
    const { steps, evals } = data;
    this.lastPage = Math.max(0, Math.ceil(steps.length / PAGE) - 1);
    const page = Math.min(this.page ?? this.lastPage, this.lastPage);
    const from = page * PAGE;
    const to = Math.min(steps.length, from + PAGE);
    setText(
      this.where,
      steps.length === 0
        ? 'No rows yet'
        : `Rows ${formatInteger(from + 1)} to ${formatInteger(to)} of ${formatInteger(steps.length)}`,
    );
    setText(
      this.caption,
      `Steps of ${run.name}, newest last. The CSV export has every row of every shown run.`,
    );
    const [first, previous, next, last] = this.pager as [
      HTMLButtonElement,
      HTMLButtonElement,
      HTMLButtonElement,
      HTMLButtonElement,
    ];
    first.disabled = previous.disabled = page === 0;
    next.disabled = last.disabled = page === this.lastPage;
    this.gpuHead.hidden = !data.onGpu;
    const rows: HTMLElement[] = [];
    for (let i = from; i < to; i++) {
      const step = steps.column('step')[i] as number;
      const e = nearestIndex(evals.column('step'), evals.length, step);
      const evaluated = e >= 0 && evals.column('step')[e] === step;
      const cells = [
        formatInteger(step),
        formatInteger(steps.column('tokens')[i]),
        formatFixed(steps.column('elapsed')[i], 1),
        formatFixed(steps.column('loss')[i], 5),
        evaluated ? formatFixed(evals.column('loss')[e], 5) : '',
        formatNumber(steps.column('learningRate')[i], 4),
        formatNumber(steps.column('gradNorm')[i], 4),
        formatInteger(steps.column('tokensPerSecond')[i]),
        formatInteger(steps.column('rssMb')[i]),
        ...(data.onGpu ? [formatMegabytes(steps.column('deviceMb')[i])] : []),
      ];
      rows.push(
        h(
          'tr',
          {},
          ...cells.map((text, k) =>
            k === 0 ? h('th', { text, attrs: { scope: 'row' } }) : h('td', { text }),
          ),
        ),
      );
    }
    replaceChildren(this.body, ...rows);
  }
}
