/** Shape and rank choices for the whole model, and what they cost before anything is trained. */
import type { DecomposeOptions, RankRule } from '../../src/protocol/explorerPanel';
import { button, h, setText } from '../shared/dom';
import { moduleRows } from './exports';
import type { ExplorerState } from './state';
import { Totals } from './totals';

export interface ControlEvents {
  options(change: Partial<DecomposeOptions>): void;
  decomposeAll(): void;
  cancel(): void;
  useRanks(): void;
  exportCsv(): void;
  exportLatex(): void;
  exportCores(): void;
}

/** A rule's slider: position in [0, 1000] to value and back. Ranks and errors move logarithmically. */
const rules: Readonly<
  Record<
    RankRule,
    {
      label: string;
      unit: string;
      min: number;
      max: number;
      start: number;
      toValue: (position: number) => number;
      toPosition: (value: number) => number;
    }
  >
> = {
  rank: {
    label: 'Largest bond dimension',
    unit: '',
    min: 1,
    max: 4096,
    start: 8,
    toValue: (p) => Math.round(2 ** (p / 100)),
    toPosition: (v) => 100 * Math.log2(v),
  },
  energy: {
    label: 'Least kept energy',
    unit: '%',
    min: 0.01,
    max: 100,
    start: 0.9,
    toValue: (p) => Number((p / 1000).toFixed(3)),
    toPosition: (v) => v * 1000,
  },
  error: {
    label: 'Largest relative error',
    unit: '%',
    min: 0,
    max: 99.9,
    start: 0.3,
    toValue: (p) => Number((p / 1000).toFixed(3)),
    toPosition: (v) => v * 1000,
  },
  budget: {
    label: 'Parameters of all modules',
    unit: '',
    min: 1000,
    max: 1e12,
    start: 1e6,
    toValue: (p) => Math.round(10 ** (3 + p / 166)),
    toPosition: (v) => (Math.log10(v) - 3) * 166,
  },
};

const scaleOf = (rule: RankRule): number => (rules[rule].unit === '%' ? 100 : 1);

export class Controls {
  readonly element: HTMLElement;
  private readonly rule: HTMLSelectElement;
  private readonly slider: HTMLInputElement;
  private readonly value: HTMLInputElement;
  private readonly unit = h('span', { class: 'muted' });
  private readonly cores: HTMLInputElement;
  private readonly coresValue = h('output', { class: 'number' });
  private readonly orientation: HTMLSelectElement;
  private readonly all: HTMLButtonElement;
  private readonly cancel: HTMLButtonElement;
  private readonly use: HTMLButtonElement;
  private readonly exportButtons: readonly HTMLButtonElement[];
  private readonly totals = new Totals();
  /** Stands beside the title. */
  readonly exports = h('div', { class: 'actions' });
  private current: DecomposeOptions | undefined;

  constructor(events: ControlEvents) {
    this.rule = h(
      'select',
      {
        attrs: { 'aria-label': 'How ranks are chosen' },
        on: {
          change: () => {
            const rule = (Object.keys(rules) as RankRule[]).find((r) => r === this.rule.value);
            if (rule !== undefined) events.options({ rule, value: rules[rule].start });
          },
        },
      },
      ...(Object.keys(rules) as RankRule[]).map((r) =>
        h('option', { text: rules[r].label, attrs: { value: r } }),
      ),
    );
    this.slider = h('input', {
      attrs: { type: 'range', min: 0, max: 1000, step: 1 },
      on: {
        input: () => {
          if (this.current === undefined) return;
          const { toValue } = rules[this.current.rule];
          events.options({ value: toValue(Number(this.slider.value)) });
        },
      },
    });
    this.value = h('input', {
      attrs: { type: 'number', step: 'any' },
      on: {
        change: () => {
          if (this.current === undefined) return;
          const { min, max } = rules[this.current.rule];
          const typed = Number(this.value.value);
          if (!Number.isFinite(typed)) return;
          const clamped = Math.min(max, Math.max(min, typed));
          events.options({ value: clamped / scaleOf(this.current.rule) });
        },
      },
    });
    this.cores = h('input', {
      attrs: { type: 'range', min: 2, max: 6, step: 1 },
      on: {
        input: () => {
          events.options({ cores: Number(this.cores.value) });
        },
      },
    });
    this.orientation = h(
      'select',
      {
        on: {
          change: () => {
            events.options({ orientation: this.orientation.value === 'in' ? 'in' : 'out' });
          },
        },
      },
      h('option', { text: 'out_features', attrs: { value: 'out' } }),
      h('option', { text: 'in_features', attrs: { value: 'in' } }),
    );
    this.all = button('Decompose All', events.decomposeAll, {
      icon: 'play-circle',
      kind: 'primary',
    });
    this.cancel = button('Cancel', events.cancel, { icon: 'debug-stop' });
    this.use = button('Use These Ranks', events.useRanks, {
      icon: 'edit',
      title:
        'Write rank_pattern (every bond) and mpo_shapes into a configuration, and decompose at exactly these ranks',
    });
    this.exportButtons = [
      button('CSV', events.exportCsv, {
        icon: 'desktop-download',
        title: 'Save the table of modules as CSV',
      }),
      button('LaTeX', events.exportLatex, {
        icon: 'file-code',
        title: 'Save the table of modules as a LaTeX tabular',
      }),
      button('Cores', events.exportCores, {
        icon: 'package',
        title: 'Save the cores as safetensors',
      }),
    ];
    this.element = h(
      'div',
      { class: 'controls' },
      h(
        'div',
        { class: 'toolbar', attrs: { role: 'group', 'aria-label': 'Shape and ranks' } },
        h('span', { class: 'field' }, this.rule, this.slider, this.value, this.unit),
        h('label', { class: 'field' }, 'Cores', this.cores, this.coresValue),
        h('label', { class: 'field' }, 'Rows run over', this.orientation),
        // Together, so that a narrow panel puts them into a row of their own.
        h('div', { class: 'trailing' }, this.cancel, this.all, this.use),
      ),
      this.totals.element,
    );
    this.exports.append(...this.exportButtons);
  }

  update(state: ExplorerState): void {
    const { options } = state;
    this.current = options;
    const rule = rules[options.rule];
    this.rule.value = options.rule;
    this.slider.setAttribute('aria-label', rule.label);
    this.value.setAttribute('aria-label', `${rule.label}${rule.unit === '' ? '' : ', per cent'}`);
    // The largest bond in the model ends the rank slider.
    const widest = Math.max(
      64,
      ...[...state.results.values()].flatMap((r) =>
        r.prepared.result.bonds.map((b) => b.fullDimension),
      ),
    );
    this.slider.max = options.rule === 'rank' ? String(Math.ceil(100 * Math.log2(widest))) : '1000';
    const position = String(Math.round(rule.toPosition(options.value)));
    if (
      this.slider.value !== position &&
      rule.toValue(Number(this.slider.value)) !== options.value
    ) {
      this.slider.value = position;
    }
    if (document.activeElement !== this.value) {
      this.value.value = String(Number((options.value * scaleOf(options.rule)).toPrecision(6)));
    }
    setText(this.unit, rule.unit);
    this.cores.value = String(options.cores);
    setText(this.coresValue, String(options.cores));
    this.orientation.value = options.orientation;
    const running = state.progress !== undefined;
    this.cancel.hidden = !running;
    this.all.hidden = running;
    const rows = moduleRows(state);
    this.use.disabled = rows.length === 0;
    for (const b of this.exportButtons) b.disabled = rows.length === 0;
    this.totals.update(state);
  }
}
