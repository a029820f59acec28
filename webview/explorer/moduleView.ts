/** One module in full: its numbers, its network, its spectra and the tables behind them. */
import type { ExplorerModule } from '../../src/protocol/explorerPanel';
import { button, h, icon, replaceChildren, setText } from '../shared/dom';
import {
  formatBytes,
  formatCount,
  formatInteger,
  formatNumber,
  formatPercent,
  formatShape,
} from '../shared/format';
import { adapterBytes, estimate, structure, tail, trainingBytes, type Prepared } from './cut';
import { Network } from './network';
import { ShapeForm, type Shape } from './shapeForm';
import { Spectrum } from './spectrum';
import { ranksOf, type ExplorerState } from './state';

export interface ModuleEvents {
  cut(module: string, bond: number, rank: number): void;
  decompose(module: string): void;
  exact(module: string): void;
  /** Decompose with an explicit shape. */
  shape(module: string, shape: Shape): void;
  /** Undo cuts set by hand. */
  reset(module: string): void;
  figure(svg: SVGSVGElement, name: string, format: 'svg' | 'png'): void;
}

const SPECTRUM_ROWS = 256;

export class ModuleView {
  readonly element = h('section', { class: 'module' });
  private module: ExplorerModule | undefined;
  private prepared: Prepared | undefined;
  private spectra: Spectrum[] = [];
  private activeBond: number | undefined;
  private readonly network = new Network((bond) => {
    this.activeBond = bond;
    this.spectra[bond]?.focusCut();
  });
  private readonly shape = new ShapeForm((shape) => {
    if (this.module !== undefined) this.events.shape(this.module.name, shape);
  });
  private readonly title = h('h2');
  private readonly facts = h('p', { class: 'muted small' });
  private readonly hole = h('div', { class: 'module-hole' });
  private readonly numbers = h('dl', { class: 'numbers' });
  private readonly spectraGrid = h('div', { class: 'spectra' });
  private readonly tables = h(
    'details',
    { class: 'tables' },
    h('summary', { text: 'Data tables' }),
  );
  private readonly tableBody = h('div', { class: 'tables-body' });
  private readonly body: HTMLElement;
  private readonly legend: HTMLElement;
  private readonly lowerBounds: HTMLElement;
  private readonly reset: HTMLButtonElement;
  private readonly exact: HTMLButtonElement;
  private holeSignature = '';
  private tableSignature = '';

  constructor(private readonly events: ModuleEvents) {
    const figure = (part: 'network' | 'spectrum', format: 'svg' | 'png'): void => {
      const drawing =
        part === 'network' ? this.network.svg : this.spectra[this.activeBond ?? 0]?.svg;
      const name = this.module?.name ?? 'module';
      if (drawing !== null && drawing !== undefined)
        events.figure(drawing, `${name}-${part}`, format);
    };
    this.reset = button(
      'Undo Cuts',
      () => {
        if (this.module !== undefined) events.reset(this.module.name);
      },
      { icon: 'discard', kind: 'tool', title: 'Back to the ranks of the rule above' },
    );
    this.exact = button(
      'Exact Spectrum',
      () => {
        if (this.module !== undefined) events.exact(this.module.name);
      },
      {
        icon: 'beaker',
        title:
          'Compute the whole spectrum of the wide middle as well (may take minutes at 4096 and above)',
      },
    );
    this.lowerBounds = h(
      'li',
      {},
      h('span', { class: 'swatch lower-bound', attrs: { 'aria-hidden': 'true' } }),
      'this weight, lower bounds',
    );
    this.legend = h(
      'ul',
      { class: 'spectrum-legend small' },
      ...(
        [
          ['own', 'this weight'],
          ['gaussian', 'Gaussian, same shape'],
          ['own_spectrum', 'random matrix, same spectrum'],
          ['cumulative', 'cumulative energy (right)'],
        ] as const
      ).map(([name, label]) =>
        h(
          'li',
          {},
          h('span', { class: `swatch ${name}`, attrs: { 'aria-hidden': 'true' } }),
          label,
        ),
      ),
    );
    this.legend.append(this.lowerBounds);
    this.tables.append(this.tableBody);
    this.tables.addEventListener('toggle', () => {
      this.tableSignature = '';
      if (this.state !== undefined && this.module !== undefined)
        this.update(this.state, this.module);
    });
    this.body = h(
      'div',
      { class: 'module-body' },
      this.numbers,
      h(
        'div',
        { class: 'card' },
        h(
          'div',
          { class: 'card-head' },
          h('h3', { text: 'Tensor network' }),
          h('span', { class: 'spring' }),
          button(
            'Network as SVG',
            () => {
              figure('network', 'svg');
            },
            { icon: 'save', kind: 'tool', title: 'Save the diagram as SVG' },
          ),
          button(
            'Network as PNG',
            () => {
              figure('network', 'png');
            },
            { icon: 'device-camera', kind: 'tool', title: 'Save the diagram as PNG' },
          ),
        ),
        this.network.element,
        this.shape.element,
      ),
      h(
        'div',
        { class: 'card' },
        h(
          'div',
          { class: 'card-head' },
          h('h3', { text: 'Singular values at each bond' }),
          h('span', { class: 'spring' }),
          this.exact,
          this.reset,
          button(
            'Spectrum as SVG',
            () => {
              figure('spectrum', 'svg');
            },
            { icon: 'save', kind: 'tool', title: 'Save the spectrum last touched as SVG' },
          ),
          button(
            'Spectrum as PNG',
            () => {
              figure('spectrum', 'png');
            },
            { icon: 'device-camera', kind: 'tool', title: 'Save the spectrum last touched as PNG' },
          ),
        ),
        this.spectraGrid,
        this.legend,
      ),
      this.tables,
    );
    this.element.append(
      h('div', { class: 'module-head' }, this.title, this.facts),
      this.hole,
      this.body,
    );
  }

  private state: ExplorerState | undefined;

  update(state: ExplorerState, module: ExplorerModule): void {
    this.state = state;
    if (this.module?.name !== module.name) this.activeBond = undefined;
    this.module = module;
    setText(this.title, module.name);
    this.title.title = module.name;
    setText(
      this.facts,
      `${formatShape([module.rows, module.cols])} (out × in) · ${module.dtype} · ${formatCount(module.rows * module.cols)} parameters`,
    );
    const entry = state.results.get(module.name);
    const ranks = ranksOf(state, module.name);
    this.body.hidden = entry === undefined;
    this.hole.hidden = entry !== undefined;
    if (entry === undefined || ranks === undefined) {
      this.showHole(state, module);
      return;
    }
    const { prepared } = entry;
    if (this.prepared !== prepared) {
      this.prepared = prepared;
      this.spectra = prepared.result.bonds.map(
        (_, bond) =>
          new Spectrum(
            bond,
            (rank) => {
              this.events.cut(module.name, bond, rank);
            },
            () => {
              if (this.activeBond === bond) return;
              this.activeBond = bond;
              if (this.state !== undefined) this.drawNetwork(this.state, module.name);
            },
          ),
      );
      replaceChildren(this.spectraGrid, ...this.spectra.map((s) => s.element));
      this.spectraGrid.dataset.count = String(Math.min(4, this.spectra.length));
    }
    const { result } = prepared;
    this.shape.update(
      module.name,
      { rows: result.rowFactors, cols: result.colFactors },
      result.orientation === 'out' ? [module.rows, module.cols] : [module.cols, module.rows],
    );
    this.showNumbers(prepared, ranks);
    this.drawNetwork(state, module.name);
    this.spectra.forEach((spectrum, bond) => {
      spectrum.update(prepared, ranks[bond] ?? 1);
    });
    this.reset.disabled = state.view.cuts[module.name] === undefined;
    this.exact.hidden = prepared.result.bonds.every((b) => b.exactSpectrum);
    this.lowerBounds.hidden = this.exact.hidden;
    if (this.tables.open) this.showTables(prepared, ranks);
  }

  private drawNetwork(state: ExplorerState, name: string): void {
    const ranks = ranksOf(state, name);
    if (this.prepared !== undefined && ranks !== undefined) {
      this.network.update(this.prepared, ranks, this.activeBond);
    }
  }

  private showHole(state: ExplorerState, module: ExplorerModule): void {
    const failure = state.failures.get(module.name);
    const busy = state.progress?.module === module.name;
    const signature = JSON.stringify([module.name, failure, busy]);
    if (signature === this.holeSignature) return;
    this.holeSignature = signature;
    replaceChildren(
      this.hole,
      failure === undefined
        ? h('p', {
            class: 'muted',
            text: busy ? 'Decomposing…' : 'Not decomposed with these options yet.',
          })
        : h(
            'div',
            { class: 'notice error', attrs: { role: 'alert' } },
            icon('error'),
            h(
              'div',
              { class: 'body' },
              h('div', { text: failure.message }),
              failure.next !== undefined && h('div', { text: failure.next }),
            ),
          ),
      !busy &&
        button(
          'Decompose This Module',
          () => {
            this.events.decompose(module.name);
          },
          { icon: 'play', kind: 'primary' },
        ),
    );
  }

  private showNumbers(prepared: Prepared, ranks: readonly number[]): void {
    const { result } = prepared;
    const e = estimate(prepared, ranks);
    const dense = result.rows * result.cols;
    const score = structure(result);
    const rows: [label: string, value: string, note: string, help: string][] = [
      [
        'Relative error',
        `${e.exact ? '' : '≈ '}${formatPercent(e.error)}`,
        e.exact
          ? 'exact'
          : `estimate; between ${formatPercent(e.errorLow)} and ${formatPercent(e.errorHigh)}`,
        '‖W − MPO‖ / ‖W‖, Frobenius norm',
      ],
      [
        'Kept energy',
        `${e.exact ? '' : '≈ '}${formatPercent(1 - e.error ** 2)}`,
        ...referenceNote(prepared, ranks),
      ],
      [
        'Parameters',
        formatCount(e.parameters),
        `${formatPercent(e.parameters / dense)} of ${formatCount(dense)} · ${formatNumber(dense / e.parameters, 3)} × smaller`,
        'Entries of all cores: what is trained',
      ],
      [
        'Adapter file',
        formatBytes(adapterBytes(e.parameters)),
        'cores in fp32',
        'Cores in fp32, headers aside',
      ],
      [
        'Training memory',
        formatBytes(trainingBytes(e.parameters)),
        'weights, gradient, AdamW',
        'Four fp32 numbers a parameter; activations come on top',
      ],
      [
        'Structure',
        score === undefined ? '–' : `${formatNumber(score * 100, 3)} points`,
        'beyond both references, as decomposed',
        'Energy kept beyond the better reference, in percentage points, at the ranks last decomposed',
      ],
    ];
    replaceChildren(
      this.numbers,
      ...rows.map(([label, value, note, help]) =>
        h(
          'div',
          { class: 'tile', attrs: { title: help } },
          h('dt', { text: label }),
          h(
            'dd',
            {},
            h('div', { class: 'value', text: value }),
            h('div', { class: 'note', text: note }),
          ),
        ),
      ),
    );
  }

  private showTables(prepared: Prepared, ranks: readonly number[]): void {
    const { result } = prepared;
    const signature = JSON.stringify([result.module, ranks]);
    if (signature === this.tableSignature) return;
    this.tableSignature = signature;
    const bonds = table(
      `Bonds of ${result.module}`,
      ['Bond', 'Dimension', 'Full dimension', 'Kept energy', 'Spectrum'],
      result.bonds.map((b, k) => [
        String(k + 1),
        formatInteger(ranks[k]),
        formatInteger(b.fullDimension),
        `${b.exactSpectrum ? '' : 'at least '}${formatPercent(result.energy > 0 ? 1 - tail(prepared, k, ranks[k] ?? 1) / result.energy : 1, 5)}`,
        b.exactSpectrum ? 'exact' : 'lower bounds',
      ]),
    );
    const cores = table(
      'Cores',
      ['Core', 'Left bond', 'Row leg i', 'Column leg j', 'Right bond', 'Parameters'],
      result.rowFactors.map((i, k) => {
        const shape = [ranks[k - 1] ?? 1, i, result.colFactors[k] ?? 1, ranks[k] ?? 1];
        return [
          String(k + 1),
          ...shape.map(formatInteger),
          formatInteger(shape.reduce((a, b) => a * b, 1)),
        ];
      }),
    );
    const spectra = result.bonds.map((b, k) => {
      const gaussian = result.references.find((r) => r.kind === 'gaussian')?.spectra[k];
      const own = result.references.find((r) => r.kind === 'own_spectrum')?.spectra[k];
      const shown = Math.min(SPECTRUM_ROWS, b.spectrum.length);
      return table(
        `Singular values at bond ${k + 1}${b.exactSpectrum ? '' : ' (lower bounds)'}: ${formatInteger(shown)} of ${formatInteger(b.fullDimension)}`,
        ['Index', 'Singular value', 'Cumulative energy', 'Gaussian', 'Same spectrum'],
        Array.from({ length: shown }, (_, i) => [
          String(i + 1),
          formatNumber(b.spectrum[i], 5),
          formatPercent(
            result.energy > 0 ? (prepared.kept[k]?.[i + 1] ?? 0) / result.energy : 0,
            5,
          ),
          formatNumber(gaussian?.[i], 5),
          formatNumber(own?.[i], 5),
        ]),
      );
    });
    replaceChildren(this.tableBody, bonds, cores, ...spectra);
  }
}

function referenceNote(prepared: Prepared, ranks: readonly number[]): [note: string, help: string] {
  const { references } = prepared.result;
  const part = (kind: 'gaussian' | 'own_spectrum', label: string): string | undefined => {
    const found = references.find((r) => r.kind === kind);
    return found === undefined ? undefined : `${label} ${formatPercent(found.keptEnergy)}`;
  };
  const parts = [part('gaussian', 'Gaussian'), part('own_spectrum', 'own spectrum')].filter(
    (p) => p !== undefined,
  );
  // The references were decomposed at the module's own ranks and say nothing about others.
  const current = ranks.every((d, k) => d === prepared.result.bonds[k]?.dimension);
  return [
    parts.length === 0 || !current ? 'share of the sum of squares' : parts.join(' · '),
    'Share of the sum of squares that the MPO holds; beside it what random matrices keep at the ranks last decomposed. No promise of better tuning.',
  ];
}

function table(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): HTMLElement {
  return h(
    'div',
    { class: 'table-scroll', attrs: { tabindex: 0, role: 'region', 'aria-label': caption } },
    h(
      'table',
      { class: 'data' },
      h('caption', { text: caption }),
      h(
        'thead',
        {},
        h('tr', {}, ...head.map((text) => h('th', { text, attrs: { scope: 'col' } }))),
      ),
      h(
        'tbody',
        {},
        ...rows.map((cells) =>
          h(
            'tr',
            {},
            ...cells.map((text, k) =>
              k === 0 ? h('th', { text, attrs: { scope: 'row' } }) : h('td', { text }),
            ),
          ),
        ),
      ),
    ),
  );
}
