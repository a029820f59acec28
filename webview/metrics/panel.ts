/** The metrics panel: messages in, one redraw a frame out. */
import {
  parseMetricsHostMessage,
  type MetricsHostMessage,
  type MetricsViewMessage,
} from '../../src/protocol/metricsPanel';
import type { Range } from '../chart/lineChart';
import { nearestIndex } from '../chart/reduce';
import { button, h, icon, replaceChildren, setText } from '../shared/dom';
import { connect } from '../shared/editorApi';
import { onThemeChange, readTheme } from '../shared/theme';
import { ChartCard } from './chartCard';
import { runsToCsv } from './csvExport';
import { DataTable } from './dataTable';
import { entryName, fullRange, legendOf, linesOf, DerivedCache, type ShownRun } from './drawing';
import { Header } from './header';
import { chartsToPng } from './image';
import { RunData } from './runData';
import { RunList } from './runList';
import { charts, describeX, formatX, type ChartSpec } from './series';
import {
  initialView,
  leadRun,
  parseViewState,
  reducePanel,
  toggleRun,
  type PanelState,
  type ViewState,
} from './state';
import { summarizeRun } from './summary';
import { Toolbar } from './toolbar';

/** Charts this many pixels beyond the window's edge are drawn already. */
const MARGIN = 150;

export function startMetricsPanel(root: HTMLElement): void {
  const rows = new Map<string, RunData>();
  const cache = new DerivedCache();
  let theme = readTheme();
  let state: PanelState = { loaded: false, runs: [], logs: {}, view: initialView };
  let cursor: number | undefined;
  let scheduled = false;
  let leadSummary = '';

  const api = connect<MetricsHostMessage, MetricsViewMessage, ViewState>(
    parseMetricsHostMessage,
    parseViewState,
    receive,
  );
  state = { ...state, view: api.restore() };

  const header = new Header(api.post);
  const list = new RunList({
    toggle: (id) => {
      setView(toggleRun(state.view, id));
    },
    lead: (id) => {
      setView(leadRun(state.view, id));
    },
  });
  const toolbar = new Toolbar({
    change: (change) => {
      // A zoom belongs to its axis.
      const zoomed = change.xAxis === undefined ? state.view : withoutZoom(state.view);
      setView({ ...zoomed, ...change });
    },
    resetZoom: () => {
      setView(withoutZoom(state.view));
    },
    exportPng: () => {
      void exportPng();
    },
    exportCsv: () => {
      const shown = shownRuns().flatMap(({ id, data }) => {
        const run = state.runs.find((r) => r.id === id);
        return run === undefined ? [] : [{ run, data }];
      });
      api.post({ type: 'exportCsv', fileName: 'dota-metrics.csv', text: runsToCsv(shown) });
    },
  });
  const table = new DataTable();
  const cards = charts.map(
    (spec) =>
      new ChartCard(spec, theme, (v) => formatX(state.view.xAxis, v), {
        zoom,
        hover: (x) => {
          moveCursor(x);
        },
        step: stepCursor,
      }),
  );
  const chartGrid = h('div', { class: 'charts' }, ...cards.map((c) => c.element));
  const notices = h('div', {});
  const live = h('div', { class: 'sr-only', attrs: { 'aria-live': 'polite' } });
  const panel = h(
    'div',
    { class: 'panel' },
    header.element,
    notices,
    toolbar.element,
    h('div', { class: 'layout' }, list.element, h('main', {}, chartGrid, table.element)),
    live,
  );

  onThemeChange((next) => {
    theme = next;
    for (const card of cards) card.chart.setTheme(next);
    schedule();
  });
  new ResizeObserver(schedule).observe(chartGrid);
  window.addEventListener('scroll', schedule, { passive: true });
  // A higher window shows charts that were beyond its edge.
  window.addEventListener('resize', schedule);
  render();
  api.post({ type: 'ready', since: {} });

  function receive(message: MetricsHostMessage): void {
    if (message.type === 'append') {
      rowsOf(message.runId).append(message);
      schedule();
      return;
    }
    const before = state;
    state = reducePanel(state, message);
    if (message.type === 'removed') {
      rows.delete(message.runId);
      cache.forget(message.runId);
    }
    if (message.type === 'run') announce(before, message.run.id);
    if (state.view !== before.view) viewChanged();
    schedule();
  }

  function announce(before: PanelState, id: string): void {
    const old = before.runs.find((r) => r.id === id);
    const now = state.runs.find((r) => r.id === id);
    if (old !== undefined && now !== undefined && old.state !== now.state) {
      setText(live, `Run ${now.name} is now ${now.state}.`);
    }
  }

  function rowsOf(id: string): RunData {
    let data = rows.get(id);
    if (data === undefined) {
      data = new RunData();
      rows.set(id, data);
    }
    return data;
  }

  function shownRuns(): ShownRun[] {
    return state.view.selected.flatMap((id) => {
      const run = state.runs.find((r) => r.id === id);
      if (run === undefined) return [];
      return [{ id, name: run.name, slot: state.view.slots[id] ?? 0, data: rowsOf(id) }];
    });
  }

  function setView(view: ViewState): void {
    state = { ...state, view };
    viewChanged();
    schedule();
  }

  function viewChanged(): void {
    api.save(state.view);
    const since: Record<string, number> = {};
    for (const id of state.view.selected) since[id] = rowsOf(id).seq;
    // The host sends what is missing of the runs named here and stops sending the others.
    for (const id of rows.keys()) {
      if (since[id] !== undefined) continue;
      rows.delete(id);
      cache.forget(id);
    }
    api.post({ type: 'subscribe', since });
  }

  function zoom(range: Range | undefined): void {
    if (range === undefined) {
      setView(withoutZoom(state.view));
      return;
    }
    const full = fullRange(shownRuns(), state.view.xAxis);
    const min = Math.max(full.min, range.min);
    const max = Math.min(full.max, range.max);
    const smallest = (full.max - full.min) * 1e-6;
    if (max - min <= smallest) return;
    setView(
      min <= full.min && max >= full.max
        ? withoutZoom(state.view)
        : { ...state.view, zoom: { min, max } },
    );
  }

  function moveCursor(x: number | undefined): void {
    if (x === cursor) return;
    cursor = x;
    for (const card of cards) card.chart.showCursor(x);
    updateLegends();
  }

  /** Moves the cursor along the rows of the leading run and says the values. */
  function stepCursor(by: number): void {
    const lead = shownRuns()[0];
    if (lead === undefined || lead.data.steps.length === 0) return;
    const { steps } = lead.data;
    const x = steps.column(state.view.xAxis);
    const range = visibleRange();
    const low = nearestIndex(x, steps.length, range.min);
    const high = nearestIndex(x, steps.length, range.max);
    const now =
      cursor === undefined ? (by > 0 ? low - 1 : high + 1) : nearestIndex(x, steps.length, cursor);
    const next = Math.min(high, Math.max(low, now + by));
    moveCursor(x[next]);
    const at = x[next] as number;
    setText(
      live,
      `${describeX(state.view.xAxis, at)}: ${charts
        .filter((spec) => isDrawn(spec, [lead]))
        .map((spec) => {
          const value = legendOf(spec, [lead], state.view.xAxis, at, theme)[0]?.value ?? '';
          return `${spec.title} ${value}`;
        })
        .join(', ')}`,
    );
  }

  function visibleRange(): Range {
    return state.view.zoom ?? fullRange(shownRuns(), state.view.xAxis);
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      render();
    });
  }

  function render(): void {
    const placeholder = emptyState();
    if (placeholder !== undefined) {
      replaceChildren(root, placeholder);
      return;
    }
    if (panel.parentElement !== root) replaceChildren(root, panel);
    const shown = shownRuns();
    const lead = state.runs.find((r) => r.id === shown[0]?.id);
    header.element.hidden = lead === undefined;
    if (lead !== undefined) header.update(lead, rowsOf(lead.id), state.logs[lead.id]);
    renderNotices();
    toolbar.update(state.view);
    list.update(state, theme);
    chartGrid.hidden = state.view.table;
    table.element.hidden = !state.view.table || lead === undefined;
    if (state.view.table) {
      if (lead !== undefined) {
        const summaries = shown.flatMap(({ id, data }) => {
          const run = state.runs.find((r) => r.id === id);
          return run === undefined ? [] : [summarizeRun(run, data)];
        });
        table.update(lead, rowsOf(lead.id), summaries);
      }
      return;
    }
    // It reads every row, so it is made here and not on every move of the cursor.
    leadSummary = lead === undefined ? '' : summarizeRun(lead, rowsOf(lead.id));
    drawCharts(shown, false);
    updateLegends();
  }

  /** Draws the charts in sight, or all of them; the others follow when they are scrolled to. */
  function drawCharts(shown: readonly ShownRun[], all: boolean): void {
    for (const card of cards) card.element.hidden = !isDrawn(card.spec, shown);
    const range = visibleRange();
    const places = cards.map((card) => card.element.getBoundingClientRect());
    cards.forEach((card, i) => {
      const place = places[i];
      if (place === undefined) return;
      const near = place.bottom > -MARGIN && place.top < window.innerHeight + MARGIN;
      if (card.element.hidden || (!all && !near)) return;
      const log = state.view.log && card.spec.log;
      const lines = linesOf(card.spec, shown, state.view, range, card.chart.columns, theme, cache);
      card.draw(lines, range, log);
    });
  }

  function updateLegends(): void {
    const shown = shownRuns();
    const at = cursor === undefined ? '' : describeX(state.view.xAxis, cursor);
    for (const card of cards) {
      const entries = legendOf(card.spec, shown, state.view.xAxis, cursor, theme);
      const description =
        `${card.spec.title}, ${card.spec.unit}. ` +
        entries.map((e) => `${entryName(e)} ${e.value}`).join(', ') +
        '. Arrow keys move the cursor, plus and minus zoom, Escape shows everything.' +
        (card.spec.id === 'loss' ? ` ${leadSummary}` : '');
      card.setLegend(entries, at, description);
    }
  }

  function renderNotices(): void {
    const children: HTMLElement[] = [];
    if (state.error !== undefined) {
      const { message, next } = state.error;
      children.push(
        h(
          'div',
          { class: 'notice error', attrs: { role: 'alert' } },
          icon('error'),
          h(
            'div',
            { class: 'body' },
            h('div', { text: message }),
            next !== undefined && h('div', { text: next }),
          ),
        ),
      );
    }
    const waiting = shownRuns().filter((r) => !r.data.complete);
    if (waiting.length > 0) {
      children.push(
        h(
          'div',
          { class: 'notice', attrs: { role: 'status' } },
          icon('loading'),
          h('div', {
            class: 'body',
            text: `Reading the journal of ${waiting.map((r) => r.name).join(', ')}…`,
          }),
        ),
      );
    }
    const signature = children.map((c) => c.textContent).join('\n');
    if (notices.dataset.signature !== signature) {
      notices.dataset.signature = signature;
      replaceChildren(notices, ...children);
    }
    notices.hidden = children.length === 0;
  }

  function emptyState(): HTMLElement | undefined {
    if (!state.loaded) {
      return h(
        'div',
        { class: 'empty', attrs: { role: 'status' } },
        icon('loading'),
        h('p', { text: 'Reading runs…' }),
      );
    }
    if (state.runs.length > 0) return undefined;
    return h(
      'div',
      { class: 'empty' },
      icon('graph-line'),
      h('h1', { text: 'No runs yet' }),
      h('p', {
        class: 'muted',
        text: 'Fine-tune a model, and its loss, learning rate, gradient norm, speed and memory appear here as it trains.',
      }),
      button(
        'Fine-Tune…',
        () => {
          api.post({ type: 'startRun' });
        },
        { kind: 'primary' },
      ),
    );
  }

  async function exportPng(): Promise<void> {
    const shown = shownRuns();
    drawCharts(shown, true);
    const pictures = cards.flatMap((card) => {
      const canvas = card.chart.canvas;
      if (card.element.hidden || canvas === undefined) return [];
      const legend = legendOf(card.spec, shown, state.view.xAxis, undefined, theme).map((e) => ({
        label: entryName(e),
        color: e.style.color,
        value: e.value,
      }));
      return [{ title: `${card.spec.title} (${card.spec.unit})`, legend, canvas }];
    });
    if (pictures.length === 0) return;
    const bytes = await chartsToPng(shown.map((r) => r.name).join(', '), pictures, theme);
    api.post({ type: 'exportPng', fileName: 'dota-metrics.png', bytes });
  }
}

function isDrawn(spec: ChartSpec, shown: readonly ShownRun[]): boolean {
  return spec.optional !== true || shown.some(({ data }) => data.onGpu);
}

function withoutZoom(view: ViewState): ViewState {
  const rest = { ...view };
  delete rest.zoom;
  return rest;
}
