/** View settings and exports. */
import { button, h } from '../shared/dom';
import { formatFixed } from '../shared/format';
import { xAxisLabels } from './series';
import { xAxes, type ViewState } from './state';

export interface ToolbarEvents {
  change(change: Partial<ViewState>): void;
  resetZoom(): void;
  exportPng(): void;
  exportCsv(): void;
}

export class Toolbar {
  readonly element: HTMLElement;
  private readonly axis: HTMLSelectElement;
  private readonly smoothing: HTMLInputElement;
  private readonly smoothingValue = h('output');
  private readonly log: HTMLInputElement;
  private readonly segments: readonly HTMLButtonElement[];
  private readonly reset: HTMLButtonElement;

  constructor(events: ToolbarEvents) {
    this.axis = h(
      'select',
      {
        on: {
          change: () => {
            const chosen = xAxes.find((a) => a === this.axis.value);
            if (chosen !== undefined) events.change({ xAxis: chosen });
          },
        },
      },
      ...xAxes.map((a) => h('option', { text: xAxisLabels[a], attrs: { value: a } })),
    );
    this.smoothing = h('input', {
      attrs: {
        type: 'range',
        min: 0,
        max: 0.99,
        step: 0.01,
        title: 'Weight of the moving average; 0 shows the raw values only',
      },
      on: {
        input: () => {
          events.change({ smoothing: Number(this.smoothing.value) });
        },
      },
    });
    this.log = h('input', {
      attrs: { type: 'checkbox' },
      on: {
        change: () => {
          events.change({ log: this.log.checked });
        },
      },
    });
    const view = (label: string, table: boolean, iconName: string): HTMLButtonElement =>
      button(
        label,
        () => {
          events.change({ table });
        },
        { icon: iconName },
      );
    this.segments = [view('Charts', false, 'graph-line'), view('Table', true, 'table')];
    this.reset = button('Reset Zoom', events.resetZoom, {
      icon: 'zoom-out',
      title: 'Show everything (double-click a chart, or Escape on it)',
    });
    this.element = h(
      'div',
      { class: 'toolbar', attrs: { role: 'toolbar', 'aria-label': 'View' } },
      h(
        'div',
        { class: 'segments', attrs: { role: 'group', 'aria-label': 'Charts or table' } },
        ...this.segments,
      ),
      h('label', { class: 'field' }, 'X axis', this.axis),
      h('label', { class: 'field' }, 'Smoothing', this.smoothing, this.smoothingValue),
      h('label', { class: 'field' }, this.log, 'Log scale'),
      // Together, so that a narrow panel puts them into a row of their own.
      h(
        'div',
        { class: 'trailing' },
        this.reset,
        button('PNG', events.exportPng, {
          icon: 'device-camera',
          title: 'Save the charts as an image',
        }),
        button('CSV', events.exportCsv, {
          icon: 'desktop-download',
          title: 'Save every row of the shown runs',
        }),
      ),
    );
  }

  update(view: ViewState): void {
    this.axis.value = view.xAxis;
    if (document.activeElement !== this.smoothing) this.smoothing.value = String(view.smoothing);
    this.smoothingValue.textContent = formatFixed(view.smoothing, 2);
    this.log.checked = view.log;
    this.segments.forEach((segment, i) => {
      segment.setAttribute('aria-pressed', String((i === 1) === view.table));
    });
    this.reset.disabled = view.zoom === undefined;
  }
}
