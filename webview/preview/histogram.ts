/** Lengths of the rows, with max_length marked; a table of the same numbers for screen readers. */
import type { DatasetReport } from '../../src/protocol/datasetPreview';
import { h, replaceChildren, svg } from '../shared/dom';
import { formatInteger, plural } from '../shared/format';

const width = 640;
const height = 132;
const bottom = 20;
const top = 18;

export class Histogram {
  readonly element = h('figure', { class: 'histogram' });

  show(report: DatasetReport, maxLength: number | undefined): void {
    const bins = report.histogram;
    if (bins.length === 0) {
      replaceChildren(this.element, h('p', { class: 'muted small', text: 'No lengths yet.' }));
      return;
    }
    const over = maxLength === undefined ? 0 : report.truncated;
    const summary =
      `Tokens a row: longest ${formatInteger(report.longest)}` +
      (maxLength === undefined
        ? '.'
        : `; ${plural(over, 'row')} longer than max_length ${formatInteger(maxLength)}.`);
    replaceChildren(
      this.element,
      h('figcaption', { class: 'small muted', text: summary }),
      this.drawing(report, maxLength, summary),
      this.table(report),
    );
  }

  private drawing(
    report: DatasetReport,
    maxLength: number | undefined,
    summary: string,
  ): SVGSVGElement {
    const bins = report.histogram;
    const last = bins.at(-1)?.to ?? 1;
    // The mark belongs on the axis even where no row comes near it.
    const end = Math.max(last + 1, maxLength === undefined ? 0 : Math.min(maxLength, 3 * last) + 1);
    const most = Math.max(...bins.map(({ rows }) => rows), 1);
    const x = (tokens: number): number => (tokens / end) * width;
    const y = (rows: number): number => (rows / most) * (height - top - bottom);
    const bars = bins.map(({ from, to, rows }) => {
      const left = x(from);
      const tall = rows === 0 ? 0 : Math.max(1, y(rows));
      const beyond = maxLength !== undefined && from > maxLength;
      return svg(
        'rect',
        {
          class: `bar${beyond ? ' beyond' : ''}`,
          attrs: {
            x: left,
            y: height - bottom - tall,
            width: Math.max(1, x(to + 1) - left - 1),
            height: tall,
          },
        },
        svg('title', { text: `${from}–${to} tokens: ${plural(rows, 'row')}` }),
      );
    });
    const label = (at: number, text: string, anchor: string): SVGTextElement =>
      svg('text', {
        class: 'axis-text',
        text,
        attrs: { x: at, y: height - 5, 'text-anchor': anchor },
      });
    const marked = maxLength !== undefined && maxLength <= end;
    const at = x(maxLength ?? 0);
    const right = at > width * 0.7;
    return svg(
      'svg',
      {
        class: 'histogram-svg',
        attrs: { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': summary },
      },
      ...bars,
      svg('line', {
        class: 'axis-line',
        attrs: { x1: 0, x2: width, y1: height - bottom, y2: height - bottom },
      }),
      label(0, '0', 'start'),
      label(width, `${formatInteger(end - 1)} tokens`, 'end'),
      marked &&
        svg('line', {
          class: 'limit',
          attrs: { x1: at, x2: at, y1: 4, y2: height - bottom },
        }),
      marked &&
        svg('text', {
          class: 'limit-text',
          text: `max_length ${formatInteger(maxLength)}`,
          attrs: { x: right ? at - 5 : at + 5, y: 13, 'text-anchor': right ? 'end' : 'start' },
        }),
    );
  }

  private table(report: DatasetReport): HTMLElement {
    return h(
      'details',
      { class: 'small' },
      h('summary', { text: 'As a table' }),
      h(
        'div',
        { class: 'table-scroll' },
        h(
          'table',
          { class: 'data' },
          h(
            'thead',
            {},
            h(
              'tr',
              {},
              h('th', { class: 'text', text: 'Tokens', attrs: { scope: 'col' } }),
              h('th', { text: 'Rows', attrs: { scope: 'col' } }),
            ),
          ),
          h(
            'tbody',
            {},
            ...report.histogram
              .filter(({ rows }) => rows > 0)
              .map(({ from, to, rows }) =>
                h(
                  'tr',
                  {},
                  h('td', {
                    class: 'text',
                    text: from === to ? String(from) : `${from}–${to}`,
                  }),
                  h('td', { text: formatInteger(rows) }),
                ),
              ),
          ),
        ),
      ),
    );
  }
}
