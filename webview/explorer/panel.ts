/** The MPO explorer: messages in, one redraw a frame out. */
import {
  parseExplorerHostMessage,
  type DecomposeOptions,
  type ExplorerHostMessage,
  type ExplorerViewMessage,
} from '../../src/protocol/explorerPanel';
import { button, h, icon, replaceChildren, setText } from '../shared/dom';
import { connect } from '../shared/editorApi';
import { formatBytes, formatCount, formatDuration, formatInteger, plural } from '../shared/format';
import { standaloneSvg, svgToPng } from '../shared/svgExport';
import { onThemeChange, readTheme } from '../shared/theme';
import { Across } from './across';
import { Controls } from './controls';
import { moduleRows, rankPattern, rowsToCsv, rowsToLatex, type ModuleRow } from './exports';
import { Heatmap } from './heatmap';
import { measureInfo } from './measures';
import { ModuleView, type ModuleEvents } from './moduleView';
import { Ranking } from './ranking';
import {
  initialState,
  isCurrent,
  measures,
  parseViewState,
  reduceExplorer,
  requestOptions,
  withCut,
  withOptions,
  withShape,
  withView,
  type ExplorerState,
  type ViewState,
} from './state';

/** Pause after the last change of an option before the selected module is decomposed again. */
const SETTLE_MS = 350;
const RANKING_MS = 200;

export function startExplorer(root: HTMLElement): void {
  let state: ExplorerState = initialState;
  let theme = readTheme();
  let scheduled = false;
  let rankingTimer: ReturnType<typeof setTimeout> | undefined;
  let settling: ReturnType<typeof setTimeout> | undefined;

  const api = connect<ExplorerHostMessage, ExplorerViewMessage, ViewState>(
    parseExplorerHostMessage,
    parseViewState,
    receive,
  );
  state = withView(state, api.restore());

  const controls = new Controls({
    options: changeOptions,
    decomposeAll: () => {
      // Embedding and head are large and seldom adapted: they are decomposed one by one on request.
      const inLayers = state.modules.filter((m) => m.layer !== undefined);
      request((inLayers.length > 0 ? inLayers : state.modules).map((m) => m.name));
    },
    cancel: () => {
      api.post({ type: 'cancel' });
    },
    useRanks: () => {
      api.post({ type: 'useRanks', ...rankPattern(state) });
      // The tree and the table then show the numbers of these ranks, not an estimate.
      const inexact = moduleRows(state).filter((row) => !row.exact);
      if (state.progress === undefined && inexact.length > 0) requestExactly(inexact);
    },
    exportCsv: () => {
      api.post({
        type: 'exportText',
        format: 'csv',
        fileName: 'mpo.csv',
        text: rowsToCsv(moduleRows(state)),
      });
    },
    exportLatex: () => {
      api.post({
        type: 'exportText',
        format: 'latex',
        fileName: 'mpo.tex',
        text: rowsToLatex(moduleRows(state)),
      });
    },
    exportCores: () => {
      const rows = moduleRows(state);
      api.post({ type: 'exportCores', modules: rows.map((r) => r.module), options: asShown(rows) });
    },
  });
  const heatmap = new Heatmap({
    select: (module) => {
      setView({ selected: module });
    },
    compare,
  });
  const ranking = new Ranking((module) => {
    setView({ selected: module });
  });
  const moduleEvents: ModuleEvents = {
    cut: (module, bond, rank) => {
      setState(withCut(state, module, bond, rank));
      settle();
    },
    decompose: (module) => {
      request([module]);
    },
    exact: (module) => {
      api.post({
        type: 'decompose',
        modules: [module],
        options: { ...requestOptions(state, [module]), exactMiddle: true },
      });
    },
    shape: (module, shape) => {
      setState(withShape(state, module, shape));
      request([module]);
    },
    reset: (module) => {
      const cuts = Object.fromEntries(
        Object.entries(state.view.cuts).filter(([name]) => name !== module),
      );
      setView({ cuts });
      settle();
    },
    figure: (drawing, name, format) => {
      void saveFigure(drawing, name, format);
    },
  };
  const across = new Across({
    select: (module) => {
      setView({ selected: module });
    },
    mode: (mode) => {
      setView({ across: mode });
    },
    layer: (otherLayer) => {
      setView({ otherLayer });
    },
    figure: (drawing, name, format) => {
      void saveFigure(drawing, name, format);
    },
  });
  const first = new ModuleView(moduleEvents);
  const second = new ModuleView(moduleEvents);

  const title = h('h1');
  const facts = h('p', { class: 'muted' });
  const progressText = h('span', { class: 'number' });
  const progressBar = h('div', { class: 'progress-bar' });
  const progress = h(
    'div',
    { class: 'progress', attrs: { role: 'progressbar', 'aria-label': 'Decomposition' } },
    h('div', { class: 'progress-track' }, progressBar),
    h('div', { class: 'progress-text' }, progressText),
  );
  const notices = h('div', {});
  const measureButtons = measures.map((measure) =>
    button(
      measureInfo[measure].label,
      () => {
        setView({ measure });
      },
      { title: measureInfo[measure].help },
    ),
  );
  const compareSelect = h('select', {
    attrs: { 'aria-label': 'Module to compare with' },
    on: {
      change: () => {
        compare(compareSelect.value);
      },
    },
  });
  let compareOptions = '';
  const details = h('div', { class: 'details' }, first.element, second.element);
  const live = h('div', { class: 'sr-only', attrs: { 'aria-live': 'polite' } });
  const rankingBox = h(
    'details',
    { class: 'card ranking-box' },
    h('summary', {}, h('h2', { text: 'Modules by structure' })),
    ranking.element,
  );
  rankingBox.open = true;
  rankingBox.addEventListener('toggle', scheduleRanking);
  const panel = h(
    'div',
    { class: 'panel' },
    h('header', { class: 'head' }, h('div', {}, title, facts), controls.exports),
    notices,
    controls.element,
    progress,
    h(
      'section',
      { class: 'card', attrs: { 'aria-label': 'Heat map' } },
      h(
        'div',
        { class: 'card-head' },
        h(
          'div',
          { class: 'segments', attrs: { role: 'group', 'aria-label': 'What the colours show' } },
          ...measureButtons,
        ),
        h('span', { class: 'spring' }),
        button(
          'Heat map as SVG',
          () => {
            saveHeatmap('svg');
          },
          { icon: 'save', kind: 'tool', title: 'Save the heat map as SVG' },
        ),
        button(
          'Heat map as PNG',
          () => {
            saveHeatmap('png');
          },
          { icon: 'device-camera', kind: 'tool', title: 'Save the heat map as PNG' },
        ),
      ),
      heatmap.element,
    ),
    h(
      'div',
      { class: 'compare-row' },
      h('label', { class: 'field' }, 'Compare with', compareSelect),
    ),
    details,
    across.element,
    rankingBox,
    live,
  );

  onThemeChange((next) => {
    theme = next;
    heatmap.forgetColours();
    schedule();
  });
  new ResizeObserver(schedule).observe(root);
  render();
  api.post({ type: 'ready' });

  function receive(message: ExplorerHostMessage): void {
    const wasRunning = state.progress !== undefined;
    setState(reduceExplorer(state, message));
    if (message.type === 'progress' && wasRunning && !message.running) {
      setText(
        live,
        message.cancelled === true
          ? 'Decomposition cancelled.'
          : `${message.done} modules decomposed.`,
      );
    }
  }

  function setState(next: ExplorerState): void {
    if (next === state) return;
    if (next.view !== state.view) api.save(next.view);
    state = next;
    schedule();
  }

  function setView(change: Partial<ViewState>): void {
    setState(withView(state, change));
  }

  function compare(module: string): void {
    const next = { ...state.view };
    if (module === '' || module === state.view.compared) delete next.compared;
    else next.compared = module;
    setState({ ...state, view: next });
  }

  function request(modules: readonly string[]): void {
    api.post({ type: 'decompose', modules, options: requestOptions(state, modules) });
  }

  /** The options in force, with every module's ranks and factors as they are shown. */
  function asShown(rows: readonly ModuleRow[]): DecomposeOptions {
    return {
      ...state.options,
      ranks: Object.fromEntries(rows.map((r) => [r.module, r.ranks])),
      shapes: Object.fromEntries(
        rows.map((r) => [r.module, { rows: r.rowFactors, cols: r.colFactors }]),
      ),
    };
  }

  function requestExactly(rows: readonly ModuleRow[]): void {
    api.post({ type: 'decompose', modules: rows.map((r) => r.module), options: asShown(rows) });
  }

  /** Previews a change from spectra at once, and soon after asks for the modules in view exactly. */
  function changeOptions(change: Partial<DecomposeOptions>): void {
    setState(withOptions(state, change));
    settle();
  }

  function settle(): void {
    clearTimeout(settling);
    settling = setTimeout(() => {
      const { selected, compared } = state.view;
      const wanted = [...new Set([selected, compared])].filter((name) => {
        const entry = name === undefined ? undefined : state.results.get(name);
        if (name === undefined || entry === undefined) return false;
        return !isCurrent(entry.options, requestOptions(state, [name]), name);
      });
      // A running request (all modules, say) is not cut short; the budget concerns all modules at
      // once, but for those whose cuts are set by hand.
      if (state.progress !== undefined) return;
      const single = wanted
        .filter((name) => name !== undefined)
        .filter((name) => state.options.rule !== 'budget' || name in state.view.cuts);
      if (single.length > 0) request(single);
    }, SETTLE_MS);
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
    const { model } = state;
    if (model === undefined) {
      replaceChildren(
        root,
        h(
          'div',
          { class: 'empty', attrs: { role: 'status' } },
          icon(state.error === undefined ? 'loading' : 'error'),
          h('p', { text: state.error?.message ?? 'Reading the model…' }),
          state.error?.next !== undefined && h('p', { class: 'muted', text: state.error.next }),
        ),
      );
      return;
    }
    if (panel.parentElement !== root) replaceChildren(root, panel);
    setText(title, model.name);
    const known = [
      model.architecture,
      model.numLayers > 0 ? plural(model.numLayers, 'layer') : '',
      `${formatCount(model.parameters)} parameters`,
      model.weightBytes > 0 ? formatBytes(model.weightBytes) : '',
    ];
    setText(facts, known.filter((part) => part !== '').join(' · '));
    renderNotices();
    controls.update(state);
    renderProgress();
    measures.forEach((measure, i) => {
      measureButtons[i]?.setAttribute('aria-pressed', String(measure === state.view.measure));
    });
    heatmap.update(state);
    renderDetails();
    across.update(state);
    scheduleRanking();
    rankingBox.hidden = state.results.size === 0;
  }

  /** The table is large; while a cut is dragged it follows a few times a second. */
  function scheduleRanking(): void {
    rankingTimer ??= setTimeout(() => {
      rankingTimer = undefined;
      if (rankingBox.open) ranking.update(state);
    }, RANKING_MS);
  }

  function renderProgress(): void {
    const p = state.progress;
    progress.hidden = p === undefined;
    if (p === undefined) return;
    progressBar.style.transform = `scaleX(${p.total > 0 ? (p.done + (p.spectrumShare ?? 0)) / p.total : 0})`;
    progress.setAttribute('aria-valuenow', String(p.done));
    progress.setAttribute('aria-valuemax', String(p.total));
    const parts = [
      `${formatInteger(p.done)} of ${formatInteger(p.total)} modules`,
      p.module,
      p.spectrumShare === undefined
        ? undefined
        : `whole spectrum ${Math.floor(100 * p.spectrumShare)} %`,
      p.secondsLeft === undefined ? undefined : `about ${formatDuration(p.secondsLeft)} left`,
    ].filter((part) => part !== undefined);
    setText(progressText, parts.join(' · '));
  }

  function renderNotices(): void {
    const message =
      state.error === undefined ? '' : `${state.error.message} ${state.error.next ?? ''}`;
    notices.hidden = message === '';
    if (notices.dataset.text === message) return;
    notices.dataset.text = message;
    replaceChildren(
      notices,
      h(
        'div',
        { class: 'notice error', attrs: { role: 'alert' } },
        icon('error'),
        h('div', { class: 'body', text: message }),
      ),
    );
  }

  function renderDetails(): void {
    const names = state.modules.map((m) => m.name);
    const signature = names.join('\n');
    if (signature !== compareOptions) {
      compareOptions = signature;
      replaceChildren(
        compareSelect,
        h('option', { text: 'nothing', attrs: { value: '' } }),
        ...names.map((name) => h('option', { text: name, attrs: { value: name } })),
      );
    }
    compareSelect.value = state.view.compared ?? '';
    const module = state.modules.find((m) => m.name === state.view.selected);
    const other = state.modules.find((m) => m.name === state.view.compared);
    first.element.hidden = module === undefined;
    second.element.hidden = other === undefined;
    details.classList.toggle('two', module !== undefined && other !== undefined);
    if (module !== undefined) first.update(state, module);
    if (other !== undefined) second.update(state, other);
  }

  function saveHeatmap(format: 'svg' | 'png'): void {
    const drawing = heatmap.svg;
    if (drawing !== null)
      void saveFigure(drawing, `${state.model?.name ?? 'model'}-${state.view.measure}`, format);
  }

  async function saveFigure(
    drawing: SVGSVGElement,
    name: string,
    format: 'svg' | 'png',
  ): Promise<void> {
    const text = standaloneSvg(drawing, theme.background);
    if (format === 'svg') {
      api.post({ type: 'exportText', format: 'svg', fileName: `${name}.svg`, text });
      return;
    }
    api.post({ type: 'exportPng', fileName: `${name}.png`, bytes: await svgToPng(text, 3) });
  }
}
