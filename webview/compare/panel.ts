/** The compare panel: guard first, then curves, Pareto plot and table of the groups. */
import { comparisonProblems, describeProblem } from '../../src/compare/comparable';
import {
  curvesSvg,
  leastParetoWidth,
  paretoSvg,
  printStyle,
  type FigureStyle,
} from '../../src/compare/figure';
import { groupRuns, type CurveAxis, type RunGroup } from '../../src/compare/groups';
import {
  comparisonColumns,
  comparisonCsv,
  comparisonLatex,
  comparisonMarkdown,
} from '../../src/compare/tables';
import {
  parseCompareHostMessage,
  type CompareHostMessage,
  type CompareViewMessage,
} from '../../src/protocol/comparePanel';
import type { CompareRun } from '../../src/protocol/comparison';
import type { Range } from '../chart/lineChart';
import { nearestIndex } from '../chart/reduce';
import { ChartCard } from '../metrics/chartCard';
import { button, h, icon, replaceChildren, setText } from '../shared/dom';
import { connect, type EditorApi } from '../shared/editorApi';
import { formatCount, formatDuration, formatFixed, formatInteger, plural } from '../shared/format';
import { dashes, onThemeChange, readTheme, type Theme } from '../shared/theme';
import { curveLegend, curveLines, fullRange, shownGroups, type ShownGroup } from './curves';
import { GroupTable } from './groupTable';
import { axisLabels, curveAxes, parseCompareState, type CompareState } from './state';

export function startComparePanel(root: HTMLElement): void {
  new ComparePanel(root);
}

class ComparePanel {
  private readonly api: EditorApi<CompareViewMessage, CompareState>;
  private state: CompareState;
  private theme: Theme = readTheme();
  private title = '';
  private note: string | undefined;
  /** Whether the host has said what there is. */
  private loaded = false;
  private runs: readonly CompareRun[] = [];
  private groups: RunGroup[] = [];
  private shown: ShownGroup[] = [];
  private zoom: Range | undefined;
  private cursor: number | undefined;
  /** Numbers of different quantities are shown only when somebody asks for them. */
  private anyway = false;
  private readonly heading = h('h1', { text: 'Compare' });
  private readonly subtitle = h('span', { class: 'muted' });
  private readonly status = h('p', { class: 'muted', attrs: { role: 'status' } });
  private readonly notices = h('div', { class: 'notices' });
  private readonly body = h('div', { class: 'compare-body' });
  private readonly pareto = h('div', { class: 'pareto' });
  private readonly table: GroupTable;
  private readonly card: ChartCard;
  private readonly axis: HTMLSelectElement;
  private readonly log: HTMLInputElement;

  constructor(root: HTMLElement) {
    this.api = connect(parseCompareHostMessage, parseCompareState, (message) => {
      this.receive(message);
    });
    this.state = this.api.restore();
    this.table = new GroupTable((key, shown) => {
      const hidden = this.state.hidden.filter((other) => other !== key);
      this.change({ hidden: shown ? hidden : [...hidden, key] });
    });
    this.card = new ChartCard(
      {
        id: 'loss',
        title: 'Validation loss, mean over seeds',
        unit: 'nats per token',
        column: 'loss',
        validation: true,
        smooth: false,
        log: true,
        format: (value) => formatFixed(value, 3),
      },
      this.theme,
      (value) => this.formatX(value),
      {
        zoom: (range) => {
          this.zoom = range;
          this.draw();
        },
        hover: (x) => {
          const places = this.places();
          // On a place that was evaluated: what is said there is of nowhere else.
          this.cursor =
            x === undefined ? undefined : places[nearestIndex(places, places.length, x)];
          this.drawLegend();
        },
        step: (rows) => {
          this.step(rows);
        },
      },
    );
    this.axis = h(
      'select',
      {
        on: {
          change: () => {
            this.zoom = undefined;
            this.change({ axis: curveAxes.find((a) => a === this.axis.value) ?? 'step' });
          },
        },
      },
      ...curveAxes.map((a) => h('option', { text: axisLabels[a], attrs: { value: a } })),
    );
    this.log = h('input', {
      attrs: { type: 'checkbox' },
      on: {
        change: () => {
          this.change({ log: this.log.checked });
        },
      },
    });
    this.body.append(
      this.toolbar(),
      h('div', { class: 'charts' }, this.card.element),
      h(
        'figure',
        { class: 'chart wide', attrs: { 'data-chart': 'pareto' } },
        h(
          'figcaption',
          { class: 'chart-head' },
          h('h3', { text: 'Parameters against validation loss' }),
        ),
        this.pareto,
      ),
      this.table.element,
    );
    root.append(
      h(
        'main',
        { class: 'panel' },
        h(
          'div',
          { class: 'compare-head' },
          this.heading,
          this.subtitle,
          h('span', { class: 'spring' }),
          button('Choose…', () => this.api.post({ type: 'choose' }), {
            icon: 'list-selection',
            title: 'Compare other runs, or start a study',
          }),
        ),
        this.status,
        this.notices,
        this.body,
      ),
    );
    this.status.hidden = true;
    onThemeChange((theme) => {
      this.theme = theme;
      this.card.chart.setTheme(theme);
      this.draw();
    });
    new ResizeObserver(() => {
      this.draw();
    }).observe(root);
    this.render();
    this.api.post({ type: 'ready' });
  }

  private toolbar(): HTMLElement {
    const save = (
      label: string,
      title: string,
      fileName: string,
      text: () => string,
    ): HTMLButtonElement =>
      button(
        label,
        () => {
          this.api.post({ type: 'export', fileName, text: text() });
        },
        { icon: 'desktop-download', title },
      );
    const style = { ...printStyle };
    const curves = (): string =>
      curvesSvg(
        this.shown.map(({ group }) => group),
        { axis: this.state.axis, title: this.title, style, ...this.noted() },
      );
    const pareto = (): string =>
      paretoSvg(
        this.shown.map(({ group }) => group),
        { title: this.title, style, ...this.noted() },
      );
    return h(
      'div',
      { class: 'toolbar', attrs: { role: 'toolbar', 'aria-label': 'View and export' } },
      h('label', { class: 'field' }, 'X axis', this.axis),
      h('label', { class: 'field' }, this.log, 'Log scale'),
      // Together, so that a narrow panel puts them into a row of their own.
      h(
        'div',
        { class: 'trailing' },
        save('Curves SVG', 'Save the curves as a figure', 'curves.svg', curves),
        save('Pareto SVG', 'Save the Pareto plot as a figure', 'pareto.svg', pareto),
        save('CSV', 'Save every run at full precision', 'comparison.csv', () =>
          comparisonCsv(this.groups),
        ),
        save('Markdown', 'Save the table as Markdown', 'comparison.md', () =>
          comparisonMarkdown(this.groups, comparisonColumns(this.groups)),
        ),
        save('LaTeX', 'Save the table as LaTeX', 'comparison.tex', () =>
          comparisonLatex(this.groups, comparisonColumns(this.groups)),
        ),
      ),
    );
  }

  private noted(): { note?: string } {
    return this.note === undefined ? {} : { note: this.note };
  }

  private receive(message: CompareHostMessage): void {
    switch (message.type) {
      case 'runs':
        this.loaded = true;
        if (message.title !== this.title) {
          this.zoom = undefined;
          this.anyway = false;
        }
        this.title = message.title;
        this.note = message.note;
        this.runs = message.runs;
        this.groups = groupRuns(message.runs);
        this.render();
        return;
      case 'progress':
        this.status.hidden = message.done >= message.total;
        setText(
          this.status,
          `${message.text} (${formatInteger(message.done)} of ${formatInteger(message.total)} runs)`,
        );
        return;
      case 'error':
        replaceChildren(
          this.notices,
          notice('error', [message.error.message, message.error.next ?? '']),
        );
        this.notices.hidden = false;
        return;
    }
  }

  private change(change: Partial<CompareState>): void {
    this.state = { ...this.state, ...change };
    this.api.save(this.state);
    this.draw();
  }

  private render(): void {
    const { runs, groups } = this;
    setText(this.heading, this.title === '' ? 'Compare' : this.title);
    setText(
      this.subtitle,
      runs.length === 0
        ? ''
        : `${plural(groups.length, 'group')}, ${plural(runs.length, 'run')}${
            this.note === undefined ? '' : `; ${this.note}`
          }`,
    );
    const problems = comparisonProblems(runs);
    const refused = problems.some(({ severity }) => severity === 'refuse') && !this.anyway;
    const causes = h(
      'ul',
      { class: 'problem-list' },
      ...problems.map((problem) => h('li', { text: describeProblem(problem) })),
    );
    const showAnyway = button('Show Anyway', () => {
      this.anyway = true;
      this.render();
    });
    replaceChildren(
      this.notices,
      !this.loaded && notice('info', ['Reading the runs…']),
      this.loaded &&
        runs.length === 0 &&
        notice('info', ['Nothing to compare yet.', 'Choose runs, or start a study.']),
      problems.length > 0 &&
        notice(
          refused ? 'error' : 'warning',
          [
            refused
              ? 'These runs can’t be compared: their numbers are of different quantities.'
              : 'These runs differ in more than their settings:',
          ],
          causes,
          refused ? h('div', { class: 'actions' }, showAnyway) : undefined,
        ),
    );
    this.notices.hidden = this.notices.childElementCount === 0;
    this.body.hidden = refused || runs.length === 0;
    this.draw();
  }

  private draw(): void {
    const { state, theme } = this;
    if (this.body.hidden) return;
    this.axis.value = state.axis;
    this.log.checked = state.log;
    this.shown = shownGroups(this.groups, state.hidden, state.axis);
    const range = this.zoom ?? fullRange(this.shown);
    this.card.draw(curveLines(this.shown, theme), range, state.log);
    this.drawLegend();
    this.drawPareto();
    this.table.update(this.groups, state.hidden, theme);
  }

  private drawLegend(): void {
    const entries = curveLegend(this.shown, this.cursor, this.theme);
    const at =
      this.cursor === undefined
        ? ''
        : `${axisLabels[this.state.axis]} ${this.formatX(this.cursor)}`;
    const values = entries.map(({ name, value }) => `${name} ${value}`).join(', ');
    this.card.setLegend(
      entries,
      at,
      `Validation loss. ${at} ${values}. Arrow keys move the cursor.`,
    );
    this.card.chart.showCursor(this.cursor);
  }

  /** The figure of the exports in the editor's colours; parsed as XML, so that names stay text. */
  private drawPareto(): void {
    const { theme } = this;
    const style: FigureStyle = {
      background: theme.background,
      foreground: theme.foreground,
      muted: theme.muted,
      grid: theme.grid,
      series: theme.series,
      dashes,
      font: theme.font,
    };
    // Hidden groups keep their colour and place; they are drawn without values.
    const hidden = new Set(this.state.hidden);
    const groups = this.groups.map((group) =>
      hidden.has(group.key) ? { ...group, parameters: undefined } : group,
    );
    // As wide as the panel, so that nothing is scaled; narrower, its labels would run into each other.
    const width = Math.max(leastParetoWidth(groups), this.pareto.clientWidth);
    const text = paretoSvg(groups, { title: '', style, width, ...this.noted() });
    const parsed = new DOMParser().parseFromString(text, 'image/svg+xml').documentElement;
    parsed.setAttribute(
      'aria-label',
      `Parameters against best validation loss of ${plural(this.groups.length, 'group')}; the table below has the values.`,
    );
    replaceChildren(this.pareto, document.importNode(parsed, true));
  }

  /** Where any of the shown groups was evaluated, ascending. */
  private places(): Float64Array {
    return Float64Array.from(new Set(this.shown.flatMap(({ curve }) => curve.x))).sort();
  }

  private step(rows: number): void {
    const xs = this.places();
    if (xs.length === 0) return;
    const { cursor } = this;
    const now = cursor === undefined ? xs.length - 1 : xs.findIndex((x) => x >= cursor);
    const next = Math.min(xs.length - 1, Math.max(0, (now < 0 ? xs.length - 1 : now) + rows));
    this.cursor = xs[next];
    this.drawLegend();
  }

  private formatX(value: number): string {
    const axis: CurveAxis = this.state.axis;
    switch (axis) {
      case 'step':
        return formatInteger(value);
      case 'tokens':
        return formatCount(value);
      case 'elapsed':
        return formatDuration(value);
    }
  }
}

function notice(
  kind: 'info' | 'warning' | 'error',
  lines: readonly string[],
  ...more: readonly (HTMLElement | undefined)[]
): HTMLElement {
  return h(
    'div',
    { class: `notice ${kind}`, attrs: { role: kind === 'error' ? 'alert' : 'note' } },
    icon(kind),
    h(
      'div',
      { class: 'body' },
      ...lines.filter((line) => line !== '').map((text) => h('p', { text })),
      ...more,
    ),
  );
}
