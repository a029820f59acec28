/** One module in all layers, or two layers module by module: which carry structure, which are noise. */
import { button, h, replaceChildren, setText, svg } from '../shared/dom';
import { formatNumber, formatPercent } from '../shared/format';
import { linearTicks } from '../shared/ticks';
import { acrossLayers, describeLayers, describePair, layerPair, type Point } from './acrossData';
import { table } from './moduleTables';
import type { AcrossMode, ExplorerState } from './state';

export interface AcrossEvents {
  select(module: string): void;
  mode(mode: AcrossMode): void;
  /** The layer to compare the selected module's with. */
  layer(layer: number): void;
  figure(svg: SVGSVGElement, name: string, format: 'svg' | 'png'): void;
}

const HEIGHT = 210;
const LEAST_WIDTH = 260;
const BOX = { left: 44, right: 12, top: 12, bottom: 34 };

const modes: readonly [AcrossMode, string][] = [
  ['layers', 'One module in all layers'],
  ['pair', 'Two layers'],
];

export class Across {
  readonly element = h('section', {
    class: 'card across',
    attrs: { 'aria-label': 'Structure across the model' },
  });
  private readonly modeButtons: readonly HTMLButtonElement[];
  private readonly other = h('select', {
    on: {
      change: () => {
        this.events.layer(Number(this.other.value));
      },
    },
  });
  private readonly otherField: HTMLElement;
  private readonly summary = h('p', { class: 'across-summary' });
  private readonly frame = h('div', { class: 'across-frame' });
  private readonly legend = h('ul', { class: 'spectrum-legend small' });
  private readonly tableBody = h('div', { class: 'tables-body' });
  private readonly tables = h(
    'details',
    { class: 'tables' },
    h('summary', { text: 'Data table' }),
    this.tableBody,
  );
  private signature = '';
  private layersShown = '';

  constructor(private readonly events: AcrossEvents) {
    this.modeButtons = modes.map(([mode, label]) =>
      button(label, () => {
        events.mode(mode);
      }),
    );
    this.otherField = h('label', { class: 'field' }, 'with layer', this.other);
    const save = (format: 'svg' | 'png'): void => {
      const drawing = this.frame.querySelector('svg');
      if (drawing !== null) events.figure(drawing, 'structure-across-layers', format);
    };
    this.element.append(
      h(
        'div',
        { class: 'card-head' },
        h('h2', { text: 'Structure across the model' }),
        h(
          'div',
          { class: 'segments', attrs: { role: 'group', 'aria-label': 'What is compared' } },
          ...this.modeButtons,
        ),
        this.otherField,
        h('span', { class: 'spring' }),
        button(
          'Comparison as SVG',
          () => {
            save('svg');
          },
          { icon: 'save', kind: 'tool', title: 'Save the comparison as SVG' },
        ),
        button(
          'Comparison as PNG',
          () => {
            save('png');
          },
          { icon: 'device-camera', kind: 'tool', title: 'Save the comparison as PNG' },
        ),
      ),
      this.summary,
      this.frame,
      this.legend,
      this.tables,
    );
  }

  update(state: ExplorerState): void {
    const module = state.modules.find((m) => m.name === state.view.selected);
    const layers = [
      ...new Set(state.modules.flatMap((m) => (m.layer === undefined ? [] : [m.layer]))),
    ];
    const layer = module?.layer;
    this.element.hidden =
      module === undefined || layer === undefined || layers.length < 2 || state.results.size === 0;
    if (this.element.hidden || module === undefined || layer === undefined) return;
    const mode = state.view.across ?? 'layers';
    modes.forEach(([m], k) =>
      this.modeButtons[k]?.setAttribute('aria-pressed', String(m === mode)),
    );
    this.otherField.hidden = mode !== 'pair';
    const shown = layers.join();
    if (shown !== this.layersShown) {
      this.layersShown = shown;
      replaceChildren(
        this.other,
        ...layers.map((l) => h('option', { text: String(l), attrs: { value: l } })),
      );
    }
    const other = layers.includes(state.view.otherLayer ?? -1)
      ? (state.view.otherLayer as number)
      : otherLayerOf(state, layer, layers);
    this.other.value = String(other);
    const width = Math.max(LEAST_WIDTH, this.frame.clientWidth);
    if (mode === 'layers') {
      const list = acrossLayers(state, module.kind);
      if (this.unchanged([width, module.name, layers, list])) return;
      const words = describeLayers(module.kind, list);
      setText(this.summary, words);
      replaceChildren(this.frame, this.drawLayers(list, layers, module.name, width, words));
      replaceChildren(
        this.legend,
        mark('own', 'this weight'),
        mark('gaussian', 'Gaussian, same shape'),
        mark('own_spectrum', 'random matrix, same spectrum'),
        mark('beyond', 'beyond both'),
      );
      replaceChildren(
        this.tableBody,
        pointTable(`Kept energy of ${module.kind} by layer`, 'Layer', list, (p) => String(p.layer)),
      );
      return;
    }
    const pairs = layerPair(state, layer, other);
    if (this.unchanged([width, module.name, other, pairs])) return;
    const words = describePair(pairs, layer, other);
    setText(this.summary, words);
    replaceChildren(this.frame, this.drawPair(pairs, [layer, other], module.name, width, words));
    replaceChildren(
      this.legend,
      mark('bar-first', `layer ${layer}`),
      mark('bar-second', `layer ${other}`),
      mark('reference', 'the better of the two references'),
    );
    const both = pairs.flatMap((p) => [p.first, p.second]).filter((p) => p !== undefined);
    replaceChildren(
      this.tableBody,
      pointTable(
        `Kept energy of layers ${layer} and ${other}`,
        'Module',
        both,
        (p) => `${p.layer}.${p.kind}`,
      ),
    );
  }

  private unchanged(parts: readonly unknown[]): boolean {
    const signature = JSON.stringify(parts);
    const same = signature === this.signature;
    this.signature = signature;
    return same;
  }

  private drawLayers(
    list: readonly Point[],
    layers: readonly number[],
    selected: string,
    width: number,
    words: string,
  ): SVGSVGElement {
    const top = Math.max(...list.flatMap(valuesOf), 0.001) * 1.08;
    const { root, y, base } = plot(width, top, words);
    const span = width - BOX.left - BOX.right;
    const x = (layer: number): number =>
      BOX.left + (span * (layers.indexOf(layer) + 0.5)) / layers.length;
    const every = Math.ceil(26 / (span / layers.length));
    layers.forEach((layer, k) => {
      if (k % every === 0) root.append(label(x(layer), base + 15, String(layer)));
    });
    root.append(label((BOX.left + width - BOX.right) / 2, HEIGHT - 3, 'layer'));
    // Layers that are not decomposed leave a gap.
    const runs: Point[][] = [];
    list.forEach((p, k) => {
      const before = list[k - 1];
      if (before !== undefined && layers.indexOf(p.layer) === layers.indexOf(before.layer) + 1)
        runs.at(-1)?.push(p);
      else runs.push([p]);
    });
    const line = (run: readonly Point[], value: (p: Point) => number | undefined): string => {
      const known = run.flatMap((p) => {
        const v = value(p);
        return v === undefined ? [] : [`${x(p.layer).toFixed(1)} ${y(v).toFixed(1)}`];
      });
      return known.length < 2 ? '' : `M${known.join('L')}`;
    };
    const reference = (p: Point): number => Math.max(p.gaussian ?? 0, p.ownSpectrum ?? 0);
    for (const run of runs.filter((r) => r.length > 1)) {
      if (run.every((p) => p.structure !== undefined)) {
        const upper = run.map(
          (p) => `${x(p.layer).toFixed(1)} ${y(Math.max(p.kept, reference(p))).toFixed(1)}`,
        );
        const lower = [...run]
          .reverse()
          .map((p) => `${x(p.layer).toFixed(1)} ${y(reference(p)).toFixed(1)}`);
        root.append(
          svg('path', { class: 'beyond', attrs: { d: `M${[...upper, ...lower].join('L')}Z` } }),
        );
      }
      root.append(
        svg('path', { class: 'curve gaussian', attrs: { d: line(run, (p) => p.gaussian) } }),
        svg('path', { class: 'curve own_spectrum', attrs: { d: line(run, (p) => p.ownSpectrum) } }),
        svg('path', { class: 'curve own', attrs: { d: line(run, (p) => p.kept) } }),
      );
    }
    for (const p of list) {
      const dot = svg(
        'g',
        { class: p.module === selected ? 'dot selected' : 'dot' },
        svg('rect', {
          class: 'hit',
          attrs: {
            x: x(p.layer) - span / layers.length / 2,
            y: BOX.top,
            width: span / layers.length,
            height: base - BOX.top,
          },
        }),
        svg('circle', {
          attrs: { cx: x(p.layer), cy: y(p.kept), r: p.module === selected ? 5.5 : 3.5 },
        }),
        svg('title', { text: pointWords(p) }),
      );
      this.onClick(dot, p);
      root.append(dot);
    }
    return root;
  }

  private drawPair(
    pairs: ReturnType<typeof layerPair>,
    layers: readonly [number, number],
    selected: string,
    width: number,
    words: string,
  ): SVGSVGElement {
    const all = pairs.flatMap((p) => [p.first, p.second]).filter((p) => p !== undefined);
    const top = Math.max(...all.flatMap(valuesOf), 0.001) * 1.08;
    const { root, y, base } = plot(width, top, words);
    const pitch = (width - BOX.left - BOX.right) / Math.max(1, pairs.length);
    const bar = Math.min(34, pitch * 0.34);
    pairs.forEach(({ kind, first, second }, k) => {
      const middle = BOX.left + (k + 0.5) * pitch;
      root.append(label(middle, base + 15, pitch < 62 ? kind.replace(/_proj$/, '') : kind));
      [first, second].forEach((p, side) => {
        const left = side === 0 ? middle - bar - 1.5 : middle + 1.5;
        if (p === undefined) {
          root.append(label(left + bar / 2, base - 5, '–'));
          return;
        }
        const reference =
          p.structure === undefined ? undefined : Math.max(p.gaussian ?? 0, p.ownSpectrum ?? 0);
        const group = svg(
          'g',
          { class: p.module === selected ? 'dot selected' : 'dot' },
          svg('rect', {
            class: side === 0 ? 'bar-first' : 'bar-second',
            attrs: { x: left, y: y(p.kept), width: bar, height: Math.max(0, base - y(p.kept)) },
          }),
          reference !== undefined &&
            svg('line', {
              class: 'reference-tick',
              attrs: { x1: left - 2, x2: left + bar + 2, y1: y(reference), y2: y(reference) },
            }),
          svg('rect', {
            class: 'hit',
            attrs: { x: left, y: BOX.top, width: bar, height: base - BOX.top },
          }),
          svg('title', { text: pointWords(p) }),
        );
        this.onClick(group, p);
        root.append(group);
      });
    });
    root.append(
      label(
        (BOX.left + width - BOX.right) / 2,
        HEIGHT - 3,
        `layer ${layers[0]} beside layer ${layers[1]}`,
      ),
    );
    return root;
  }

  private onClick(node: SVGGElement, point: Point): void {
    node.addEventListener('click', () => {
      this.events.select(point.module);
    });
  }
}

/** The last layer with a result; the last one where there is none. */
function otherLayerOf(state: ExplorerState, layer: number, layers: readonly number[]): number {
  const known = state.modules.flatMap((m) =>
    m.layer !== undefined && m.layer !== layer && state.results.has(m.name) ? [m.layer] : [],
  );
  return known.at(-1) ?? (layers.filter((l) => l !== layer).at(-1) as number);
}

function valuesOf(p: Point): number[] {
  return [p.kept, p.gaussian ?? 0, p.ownSpectrum ?? 0];
}

/** Frame, grid and left axis in per cent of the energy. */
function plot(
  width: number,
  top: number,
  words: string,
): { root: SVGSVGElement; y: (share: number) => number; base: number } {
  const base = HEIGHT - BOX.bottom;
  const y = (share: number): number => base - ((base - BOX.top) * Math.max(0, share)) / top;
  const root = svg('svg', {
    attrs: { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: 'img', 'aria-label': words },
  });
  for (const tick of linearTicks(0, top, 4)) {
    root.append(
      svg('line', {
        class: 'grid',
        attrs: { x1: BOX.left, x2: width - BOX.right, y1: y(tick), y2: y(tick) },
      }),
      svg('text', {
        class: 'axis-label',
        text: `${formatNumber(tick * 100, 3)} %`,
        attrs: { x: BOX.left - 6, y: y(tick) + 4, 'text-anchor': 'end' },
      }),
    );
  }
  return { root, y, base };
}

function label(x: number, y: number, text: string): SVGTextElement {
  return svg('text', { class: 'axis-label', text, attrs: { x, y, 'text-anchor': 'middle' } });
}

function mark(kind: string, text: string): HTMLElement {
  return h(
    'li',
    {},
    h('span', { class: `swatch ${kind}`, attrs: { 'aria-hidden': 'true' } }),
    text,
  );
}

function pointWords(p: Point): string {
  const beyond =
    p.structure === undefined ? '' : `, ${formatNumber(p.structure * 100, 3)} points beyond both`;
  return `${p.module}: ${formatPercent(p.kept)} kept${beyond}`;
}

function pointTable(
  caption: string,
  first: string,
  list: readonly Point[],
  name: (p: Point) => string,
): HTMLElement {
  const share = (v: number | undefined): string => (v === undefined ? '–' : formatPercent(v));
  return table(
    caption,
    [first, 'Kept energy', 'Gaussian', 'Same spectrum', 'Beyond both (points)', 'Parameters kept'],
    list.map((p) => [
      name(p),
      share(p.kept),
      share(p.gaussian),
      share(p.ownSpectrum),
      p.structure === undefined ? '–' : formatNumber(p.structure * 100, 3),
      share(p.share),
    ]),
  );
}
