/** Modules by layer as a heat map: pointer, arrow keys, and a name for every cell. */
import type { ExplorerModule } from '../../src/protocol/explorerPanel';
import { h, replaceChildren, setText, svg } from '../shared/dom';
import { readableOn } from '../shared/theme';
import { isEstimate, measureInfo, measureOf } from './measures';
import type { ExplorerState } from './state';

export interface HeatmapEvents {
  select(module: string): void;
  compare(module: string): void;
}

const LABEL_WIDTH = 76;
const TOP = 22;
const GAP = 2;

interface Place {
  module: ExplorerModule;
  row: number;
  column: number;
}

export class Heatmap {
  readonly element = h('div', { class: 'heatmap' });
  private readonly frame = h('div', { class: 'heatmap-frame' });
  private readonly note = h('p', { class: 'muted small' });
  private readonly scaleFrom = h('span');
  private readonly scaleTo = h('span');
  private readonly scale = h(
    'div',
    { class: 'heatmap-scale small muted number' },
    this.scaleFrom,
    h('span', { class: 'heatmap-ramp', attrs: { 'aria-hidden': 'true' } }),
    this.scaleTo,
  );
  /** Embedding and head have no layer; they stand below as links. */
  private readonly outside = h('p', { class: 'outside small' });
  private places: Place[] = [];
  private cells = new Map<string, SVGGElement>();
  private layout = '';
  private drawn = new Map<string, string>();
  private state: ExplorerState | undefined;
  /** What the measure means. */
  private about = '';
  private hovered: SVGGElement | undefined;

  constructor(private readonly events: HeatmapEvents) {
    this.element.append(
      this.frame,
      this.outside,
      h('div', { class: 'heatmap-foot' }, this.note, this.scale),
    );
    this.frame.addEventListener('keydown', (event) => {
      this.key(event);
    });
    // The cell's words at once, where the browser's own tooltip waits.
    this.frame.addEventListener('pointerover', (event) => {
      const cell = event.target instanceof Element ? event.target.closest('.cell') : null;
      this.hovered = cell instanceof SVGGElement ? cell : undefined;
      this.tell();
    });
    this.frame.addEventListener('pointerleave', () => {
      this.hovered = undefined;
      this.tell();
    });
  }

  get svg(): SVGSVGElement | null {
    return this.frame.querySelector('svg');
  }

  /** Words on cells are black or white by the cell's colour, which another theme changes. */
  forgetColours(): void {
    this.drawn.clear();
  }

  update(state: ExplorerState): void {
    this.state = state;
    const inLayers = state.modules.filter((m) => m.layer !== undefined);
    const kinds = [...new Set(inLayers.map((m) => m.kind))];
    const layers = [...new Set(inLayers.map((m) => m.layer as number))].sort((a, b) => a - b);
    const width = this.frame.clientWidth || 800;
    const size = Math.max(
      16,
      Math.min(58, Math.floor((width - LABEL_WIDTH - 4) / Math.max(1, layers.length)) - GAP),
    );
    const height = Math.max(20, Math.min(30, size));
    const layout = JSON.stringify([kinds, layers, size, height, state.modules.length]);
    if (layout !== this.layout) {
      this.layout = layout;
      this.build(inLayers, kinds, layers, size, height);
      this.listOutside(state.modules.filter((m) => m.layer === undefined));
    }
    this.paint(state, size);
  }

  private listOutside(modules: readonly ExplorerModule[]): void {
    this.outside.hidden = modules.length === 0;
    replaceChildren(
      this.outside,
      h('span', { class: 'muted', text: 'Outside the layers: ' }),
      ...modules.flatMap((module, i) => [
        i > 0 ? ', ' : undefined,
        h('button', {
          class: 'link',
          text: module.name,
          attrs: { type: 'button' },
          on: {
            click: () => {
              this.events.select(module.name);
            },
          },
        }),
      ]),
    );
  }

  private build(
    modules: readonly ExplorerModule[],
    kinds: readonly string[],
    layers: readonly number[],
    size: number,
    height: number,
  ): void {
    this.hovered = undefined;
    this.cells = new Map();
    this.drawn = new Map();
    this.places = [];
    const pitchX = size + GAP;
    const pitchY = height + GAP;
    const root = svg('svg', {
      class: 'heatmap-svg',
      attrs: {
        width: LABEL_WIDTH + layers.length * pitchX,
        height: TOP + kinds.length * pitchY,
        role: 'grid',
        tabindex: 0,
        'aria-label': 'Modules by layer',
        'aria-rowcount': kinds.length,
        'aria-colcount': layers.length,
      },
    });
    // Labels of the layers: as many as fit without touching.
    const every = Math.max(1, Math.ceil(26 / pitchX));
    layers.forEach((layer, column) => {
      if (column % every !== 0) return;
      const x = LABEL_WIDTH + column * pitchX + size / 2;
      root.append(
        svg('text', {
          class: 'axis-label',
          text: String(layer),
          attrs: { x, y: TOP - 8, 'text-anchor': 'middle', 'aria-hidden': 'true' },
        }),
      );
    });
    root.append(
      svg('text', {
        class: 'axis-label',
        text: 'layer',
        attrs: { x: LABEL_WIDTH - 10, y: TOP - 8, 'text-anchor': 'end', 'aria-hidden': 'true' },
      }),
    );
    kinds.forEach((kind, row) => {
      const y = TOP + row * pitchY;
      const line = svg('g', { attrs: { role: 'row' } });
      line.append(
        svg('text', {
          class: 'axis-label',
          text: kind,
          attrs: {
            x: LABEL_WIDTH - 10,
            y: y + height / 2 + 4,
            'text-anchor': 'end',
            role: 'rowheader',
          },
        }),
      );
      layers.forEach((layer, column) => {
        const module = modules.find((m) => m.kind === kind && m.layer === layer);
        if (module === undefined) return;
        const x = LABEL_WIDTH + column * pitchX;
        const cell = svg(
          'g',
          { class: 'cell', attrs: { role: 'gridcell', id: `cell-${row}-${column}` } },
          svg('rect', { attrs: { x, y, width: size, height, rx: 2 } }),
          svg('text', {
            attrs: {
              x: x + size / 2,
              y: y + height / 2 + 4,
              'text-anchor': 'middle',
              'aria-hidden': 'true',
            },
          }),
          svg('title'),
        );
        cell.addEventListener('click', (event) => {
          if (event.ctrlKey || event.metaKey) this.events.compare(module.name);
          else this.events.select(module.name);
        });
        line.append(cell);
        this.cells.set(module.name, cell);
        this.places.push({ module, row, column });
      });
      root.append(line);
    });
    replaceChildren(this.frame, root);
  }

  private paint(state: ExplorerState, size: number): void {
    const { measure, selected, compared } = state.view;
    const info = measureInfo[measure];
    const values = new Map<string, number>();
    let low = Infinity;
    let high = -Infinity;
    for (const { module } of this.places) {
      const value = measureOf(state, module.name, measure);
      if (value === undefined) continue;
      values.set(module.name, value);
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const root = getComputedStyle(document.body);
    const theme = `${root.getPropertyValue('--dota-heat')}|${root.backgroundColor}`;
    const from = info.fromZero ? Math.min(0, low) : low;
    const to = high;
    for (const { module } of this.places) {
      const value = values.get(module.name);
      const failed = state.failures.has(module.name);
      const share =
        value === undefined ? undefined : to > from ? (value - from) / (to - from) : 0.5;
      const look = failed ? 'failed' : share === undefined ? 'none' : share.toFixed(3);
      const role =
        module.name === selected ? 'selected' : module.name === compared ? 'compared' : '';
      const text = failed ? '!' : value === undefined || size < 26 ? '' : info.short(value);
      // The theme too: the text is black or white by the colour behind it.
      const key = `${look}|${role}|${text}|${measure}|${theme}`;
      if (this.drawn.get(module.name) === key) continue;
      this.drawn.set(module.name, key);
      const cell = this.cells.get(module.name);
      if (cell === undefined) continue;
      cell.setAttribute(
        'class',
        `cell ${role} ${share === undefined ? 'unknown' : ''} ${failed ? 'failed' : ''}`,
      );
      const rect = cell.querySelector('rect');
      const label = cell.querySelector('text');
      const title = cell.querySelector('title');
      if (rect === null || label === null || title === null) continue;
      rect.style.fill =
        share === undefined
          ? ''
          : `color-mix(in srgb, var(--dota-heat) ${(8 + 92 * share).toFixed(1)}%, var(--vscode-editor-background))`;
      setText(label, text);
      label.style.fill = share === undefined ? '' : readableOn(getComputedStyle(rect).fill);
      const words = `${module.name}: ${
        failed
          ? 'failed'
          : value === undefined
            ? 'not decomposed yet'
            : `${info.label.toLowerCase()} ${isEstimate(state, module.name, measure) ? 'about ' : ''}${info.long(value)}`
      }`;
      setText(title, words);
      cell.setAttribute('aria-label', words);
      cell.setAttribute('aria-selected', String(role === 'selected'));
      if (role === 'selected') this.svg?.setAttribute('aria-activedescendant', cell.id);
    }
    const estimated = this.places.some((p) => isEstimate(state, p.module.name, measure));
    this.about = `${info.label}: ${info.help}${estimated ? ' Estimated from spectra at the ranks chosen; decompose for exact values.' : ''}`;
    this.tell();
    this.scale.hidden = values.size === 0;
    setText(this.scaleFrom, values.size === 0 ? '' : info.long(from));
    setText(this.scaleTo, values.size === 0 ? '' : info.long(to));
  }

  private tell(): void {
    setText(this.note, this.hovered?.getAttribute('aria-label') ?? this.about);
  }

  private key(event: KeyboardEvent): void {
    const now =
      this.places.find((p) => p.module.name === this.state?.view.selected) ?? this.places[0];
    if (now === undefined) return;
    const moves: Readonly<Record<string, readonly [number, number]>> = {
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
    };
    const inRow = this.places.filter((p) => p.row === now.row);
    const move = moves[event.key];
    const target =
      move !== undefined
        ? this.places.find((p) => p.row === now.row + move[0] && p.column === now.column + move[1])
        : event.key === 'Home'
          ? inRow[0]
          : event.key === 'End'
            ? inRow.at(-1)
            : undefined;
    if (event.key === 'c') {
      this.events.compare(now.module.name);
      event.preventDefault();
    }
    if (target === undefined) return;
    event.preventDefault();
    this.events.select(target.module.name);
  }
}
