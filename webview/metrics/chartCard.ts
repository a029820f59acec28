/** One chart with its title, its legend of values at the cursor, and its keyboard cursor. */
import { LineChart, type ChartEvents, type ChartLine, type Range } from '../chart/lineChart';
import { h, replaceChildren, setText } from '../shared/dom';
import { legendMark, type Style } from '../shared/legendMark';
import type { Theme } from '../shared/theme';
import type { ChartSpec } from './series';

export interface LegendEntry {
  /** The run's name; shortened where space is short. */
  name: string;
  /** `training` or `validation` where both are drawn; never shortened. */
  kind: string;
  style: Style;
  validation: boolean;
  value: string;
}

export interface CardEvents extends ChartEvents {
  /** A key moved the cursor by `rows` data rows, or to an end. */
  step(rows: number): void;
}

const PAGE_ROWS = 10;

export class ChartCard {
  readonly element: HTMLElement;
  readonly chart: LineChart;
  private readonly plot: HTMLElement;
  private readonly hole = h('p', { class: 'chart-hole', text: 'No data yet.' });
  private readonly legend = h('ul', { class: 'legend' });
  private readonly at = h('span', { class: 'chart-at' });
  private legendSignature = '';
  private values: HTMLElement[] = [];

  constructor(
    readonly spec: ChartSpec,
    theme: Theme,
    formatX: (value: number) => string,
    private readonly events: CardEvents,
  ) {
    this.plot = h('div', {
      class: 'chart-plot',
      attrs: {
        tabindex: 0,
        role: 'application',
        'aria-roledescription': 'line chart',
        'aria-label': spec.title,
        title: '',
      },
      on: {
        keydown: (event) => {
          this.key(event);
        },
        blur: () => {
          events.hover(undefined);
        },
      },
    });
    this.plot.removeAttribute('title');
    // Not before it is known.
    this.hole.hidden = true;
    this.chart = new LineChart(this.plot, theme, formatX, spec.format, events);
    this.element = h(
      'figure',
      { class: spec.id === 'loss' ? 'chart wide' : 'chart', attrs: { 'data-chart': spec.id } },
      h(
        'figcaption',
        { class: 'chart-head' },
        h('h3', { text: spec.title }),
        h('span', { class: 'unit small', text: spec.unit }),
        this.at,
      ),
      this.legend,
      this.plot,
      this.hole,
    );
  }

  draw(lines: readonly ChartLine[], x: Range, log: boolean): void {
    const empty = lines.every((l) => l.points.x.length === 0);
    this.hole.hidden = !empty;
    this.plot.hidden = empty;
    if (!empty) this.chart.draw(lines, x, log);
  }

  /** Writes the values at the cursor (or the newest ones) into the legend. */
  setLegend(entries: readonly LegendEntry[], at: string, description: string): void {
    setText(this.at, at);
    this.plot.setAttribute('aria-label', description);
    const signature = JSON.stringify(entries.map((e) => [e.name, e.kind, e.style]));
    if (signature !== this.legendSignature) {
      this.legendSignature = signature;
      this.values = entries.map(() => h('span', { class: 'value' }));
      replaceChildren(
        this.legend,
        ...entries.map((entry, i) =>
          h(
            'li',
            {},
            legendMark(entry.style, { validation: entry.validation }),
            h('span', { class: 'name', text: entry.name, attrs: { title: entry.name } }),
            entry.kind !== '' && h('span', { class: 'muted', text: entry.kind }),
            this.values[i],
          ),
        ),
      );
    }
    entries.forEach((entry, i) => {
      const cell = this.values[i];
      if (cell !== undefined) setText(cell, entry.value);
    });
  }

  private key(event: KeyboardEvent): void {
    const act = (): boolean => {
      switch (event.key) {
        case 'ArrowLeft':
          this.events.step(event.shiftKey ? -PAGE_ROWS : -1);
          return true;
        case 'ArrowRight':
          this.events.step(event.shiftKey ? PAGE_ROWS : 1);
          return true;
        case 'PageUp':
          this.events.step(-10 * PAGE_ROWS);
          return true;
        case 'PageDown':
          this.events.step(10 * PAGE_ROWS);
          return true;
        case 'Home':
          this.events.step(-Infinity);
          return true;
        case 'End':
          this.events.step(Infinity);
          return true;
        case '+':
        case '=':
          this.chart.zoomAtCursor(1 / 1.5);
          return true;
        case '-':
          this.chart.zoomAtCursor(1.5);
          return true;
        case '0':
        case 'Escape':
          this.events.zoom(undefined);
          return true;
        default:
          return false;
      }
    };
    if (!event.ctrlKey && !event.metaKey && !event.altKey && act()) event.preventDefault();
  }
}
