/** One module in full: its numbers, its network, its spectra and the tables behind them. */
import type { ExplorerModule } from '../../src/protocol/explorerPanel';
import { button, h, icon, replaceChildren, setText } from '../shared/dom';
import { formatCount, formatShape } from '../shared/format';
import { hasBothReferences, type Prepared } from './cut';
import { moduleTables } from './moduleTables';
import { moduleTiles } from './moduleTiles';
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
  private readonly compare: HTMLButtonElement;
  private readonly marks = new Map<string, HTMLElement>();
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
          'Compute the whole spectrum of the wide middle as well (about 20 seconds at side 4096 on two cores)',
      },
    );
    this.compare = button(
      'Compare with Random Matrices',
      () => {
        if (this.module !== undefined) events.decompose(this.module.name);
      },
      {
        icon: 'git-compare',
        title:
          'Decompose a Gaussian of the same shape and a random matrix with the same spectrum as well',
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
      ).map(([name, label]) => {
        const swatch = h('span', { class: `swatch ${name}`, attrs: { 'aria-hidden': 'true' } });
        const mark = h('li', {}, swatch, label);
        this.marks.set(name, mark);
        return mark;
      }),
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
          this.compare,
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
    replaceChildren(this.numbers, ...moduleTiles(prepared, ranks, state.training));
    this.drawNetwork(state, module.name);
    this.spectra.forEach((spectrum, bond) => {
      spectrum.update(prepared, ranks[bond] ?? 1);
    });
    this.reset.disabled = state.view.cuts[module.name] === undefined;
    this.exact.hidden = prepared.result.bonds.every((b) => b.exactSpectrum);
    this.lowerBounds.hidden = this.exact.hidden;
    this.compare.hidden = hasBothReferences(result);
    for (const kind of ['gaussian', 'own_spectrum']) {
      const mark = this.marks.get(kind);
      if (mark !== undefined) mark.hidden = result.references.every((r) => r.kind !== kind);
    }
    const tablesShown = JSON.stringify([result.module, ranks]);
    if (this.tables.open && this.tableSignature !== tablesShown) {
      this.tableSignature = tablesShown;
      replaceChildren(this.tableBody, ...moduleTables(prepared, ranks));
    }
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
}
