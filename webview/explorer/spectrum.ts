/** Singular values at one bond on logarithmic axes, with a cut that can be dragged. */
import { h, replaceChildren, svg } from '../shared/dom';
import { formatInteger, formatNumber, formatPercent } from '../shared/format';
import { logTicks } from '../shared/ticks';
import { maxRank, tail, type Prepared } from './cut';

const HEIGHT = 220;
const LEAST_WIDTH = 240;
const BOX = { left: 44, right: 40, top: 12, bottom: 34 };
const FLOOR = 1e-7;

export class Spectrum {
  readonly element: HTMLElement;
  private readonly frame = h('div', { class: 'spectrum-frame' });
  private readonly caption = h('figcaption', { class: 'spectrum-head' });
  private prepared: Prepared | undefined;
  private built: Prepared | undefined;
  private rank = 1;
  /** Drawn in CSS pixels, so that text keeps the editor's size at every width. */
  private width = 0;
  private handle: SVGGElement | undefined;
  private shade: SVGRectElement | undefined;
  private readonly readout = h('span', { class: 'number' });

  constructor(
    readonly bond: number,
    private readonly onCut: (rank: number) => void,
    private readonly onFocus: () => void,
  ) {
    this.element = h('figure', { class: 'spectrum' }, this.caption, this.frame);
  }

  get svg(): SVGSVGElement | null {
    return this.frame.querySelector('svg');
  }

  focusCut(): void {
    this.handle?.focus();
  }

  update(prepared: Prepared, rank: number): void {
    this.prepared = prepared;
    this.rank = rank;
    const width = Math.max(LEAST_WIDTH, this.frame.clientWidth);
    if (this.built !== prepared || width !== this.width) {
      this.built = prepared;
      this.width = width;
      this.build(prepared);
    }
    this.place(prepared);
  }

  private x(index: number): number {
    const last = Math.max(2, this.prepared?.result.bonds[this.bond]?.fullDimension ?? 2);
    return (
      BOX.left +
      ((this.width - BOX.left - BOX.right) * Math.log(Math.max(1, index))) / Math.log(last)
    );
  }

  private rankAt(x: number): number {
    const prepared = this.prepared;
    if (prepared === undefined) return this.rank;
    const last = Math.max(2, prepared.result.bonds[this.bond]?.fullDimension ?? 2);
    const share = (x - BOX.left) / (this.width - BOX.left - BOX.right);
    const rank = Math.round(Math.exp(share * Math.log(last)));
    return Math.min(maxRank(prepared.result, this.bond), Math.max(1, rank));
  }

  private build(prepared: Prepared): void {
    const { result } = prepared;
    const bond = result.bonds[this.bond];
    if (bond === undefined) return;
    const references = result.references.flatMap((r) => {
      const values = r.spectra[this.bond];
      return values === undefined || values.length === 0 ? [] : [{ kind: r.kind, values }];
    });
    const top = Math.max(bond.spectrum[0] ?? 0, ...references.map((r) => r.values[0] ?? 0)) || 1;
    const smallest = (values: Float64Array): number => {
      for (let i = values.length - 1; i >= 0; i--) {
        const v = values[i] as number;
        if (v > top * FLOOR) return v;
      }
      return top;
    };
    const bottom = Math.min(smallest(bond.spectrum), ...references.map((r) => smallest(r.values)));
    const low = Math.log(bottom / 1.3);
    const high = Math.log(top * 1.3);
    const plotHeight = HEIGHT - BOX.top - BOX.bottom;
    const y = (value: number): number =>
      BOX.top + plotHeight * (1 - (Math.log(Math.max(value, bottom / 1.3)) - low) / (high - low));
    const yShare = (share: number): number => BOX.top + plotHeight * (1 - share);

    const root = svg('svg', {
      attrs: {
        viewBox: `0 0 ${this.width} ${HEIGHT}`,
        height: HEIGHT,
        role: 'group',
        'aria-label': `Spectrum at bond ${this.bond + 1}`,
      },
    });
    const right = this.width - BOX.right;
    const base = HEIGHT - BOX.bottom;
    for (const tick of logTicks(bottom / 1.3, top * 1.3, 5)) {
      root.append(
        svg('line', {
          class: 'grid',
          attrs: { x1: BOX.left, x2: right, y1: y(tick), y2: y(tick) },
        }),
        svg('text', {
          class: 'axis-label',
          text: formatNumber(tick, 2),
          attrs: { x: BOX.left - 6, y: y(tick) + 4, 'text-anchor': 'end' },
        }),
      );
    }
    for (const share of [0, 0.5, 1]) {
      root.append(
        svg('text', {
          class: 'axis-label',
          text: `${share * 100} %`,
          attrs: { x: right + 5, y: yShare(share) + 4 },
        }),
      );
    }
    const full = bond.fullDimension;
    const ticks = [1];
    for (let t = full >= 64 ? 4 : 2; t < full; t *= full >= 64 ? 4 : 2) ticks.push(t);
    if (full > 1 && this.x(full) - this.x(ticks.at(-1) ?? 1) > 26) ticks.push(full);
    for (const tick of ticks) {
      root.append(
        svg('line', {
          class: 'grid',
          attrs: { x1: this.x(tick), x2: this.x(tick), y1: BOX.top, y2: base },
        }),
        svg('text', {
          class: 'axis-label',
          text: String(tick),
          attrs: { x: this.x(tick), y: base + 15, 'text-anchor': 'middle' },
        }),
      );
    }
    root.append(
      svg('text', {
        class: 'axis-label',
        text: 'index of singular value',
        attrs: { x: (BOX.left + right) / 2, y: HEIGHT - 3, 'text-anchor': 'middle' },
      }),
    );
    this.shade = svg('rect', { class: 'discarded', attrs: { y: BOX.top, height: plotHeight } });
    root.append(this.shade);

    const path = (values: Float64Array, map: (v: number, i: number) => number): string => {
      const parts: string[] = [];
      let previous = -Infinity;
      values.forEach((value, i) => {
        const px = this.x(i + 1);
        // Below half a pixel a further point can't be seen; the last one always is kept.
        if (px - previous < 0.5 && i !== values.length - 1) return;
        previous = px;
        parts.push(`${parts.length === 0 ? 'M' : 'L'}${px.toFixed(1)} ${map(value, i).toFixed(1)}`);
      });
      return parts.join('');
    };
    for (const { kind, values } of references) {
      root.append(svg('path', { class: `curve ${kind}`, attrs: { d: path(values, (v) => y(v)) } }));
    }
    const sums = prepared.kept[this.bond] ?? new Float64Array(1);
    root.append(
      svg('path', {
        class: 'curve cumulative',
        attrs: {
          d: path(bond.spectrum, (_v, i) =>
            yShare(result.energy > 0 ? (sums[i + 1] ?? 0) / result.energy : 0),
          ),
        },
      }),
      svg('path', {
        class: bond.exactSpectrum ? 'curve own' : 'curve own lower-bound',
        attrs: { d: path(bond.spectrum, (v) => y(v)) },
      }),
    );

    const handle = svg(
      'g',
      {
        class: 'cut',
        attrs: {
          role: 'slider',
          tabindex: 0,
          'aria-label': `Dimension of bond ${this.bond + 1}`,
          'aria-valuemin': 1,
          'aria-valuemax': maxRank(result, this.bond),
        },
      },
      svg('line', { class: 'cut-line', attrs: { x1: 0, x2: 0, y1: BOX.top, y2: base } }),
      svg('rect', {
        class: 'hit',
        attrs: { x: -9, y: BOX.top - 8, width: 18, height: plotHeight + 16 },
      }),
      svg('path', { class: 'cut-grip', attrs: { d: `M-6 ${BOX.top - 10}h12v8l-6 6l-6-6z` } }),
    );
    this.handle = handle;
    handle.addEventListener('keydown', (event) => {
      this.key(event);
    });
    handle.addEventListener('focus', this.onFocus);
    root.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      handle.focus();
      root.setPointerCapture(event.pointerId);
      this.drag(event, root);
    });
    root.addEventListener('pointermove', (event) => {
      if (root.hasPointerCapture(event.pointerId)) this.drag(event, root);
    });
    root.append(handle);
    replaceChildren(this.frame, root);
    replaceChildren(
      this.caption,
      h('h3', { text: `Bond ${this.bond + 1}` }),
      !bond.exactSpectrum &&
        h('span', {
          class: 'badge',
          text: 'lower bounds',
          attrs: {
            title:
              'A wide middle: these are the values of the tensor that the outer cuts left, each at most the true one.',
          },
        }),
      this.readout,
    );
  }

  private place(prepared: Prepared): void {
    const bond = prepared.result.bonds[this.bond];
    if (bond === undefined || this.handle === undefined || this.shade === undefined) return;
    const at = this.x(this.rank);
    this.handle.setAttribute('transform', `translate(${at.toFixed(1)} 0)`);
    this.shade.setAttribute('x', at.toFixed(1));
    this.shade.setAttribute('width', Math.max(0, this.width - BOX.right - at).toFixed(1));
    const kept =
      prepared.result.energy > 0
        ? 1 - tail(prepared, this.bond, this.rank) / prepared.result.energy
        : 1;
    const words = `${formatInteger(this.rank)} of ${formatInteger(bond.fullDimension)} · ${bond.exactSpectrum ? '' : 'at least '}${formatPercent(kept)} kept`;
    this.readout.textContent = words;
    this.handle.setAttribute('aria-valuenow', String(this.rank));
    this.handle.setAttribute('aria-valuetext', words);
  }

  private drag(event: PointerEvent, root: SVGSVGElement): void {
    const box = root.getBoundingClientRect();
    const rank = this.rankAt(((event.clientX - box.left) * this.width) / box.width);
    if (rank !== this.rank) this.onCut(rank);
  }

  private key(event: KeyboardEvent): void {
    const prepared = this.prepared;
    if (prepared === undefined) return;
    const last = maxRank(prepared.result, this.bond);
    const next = ((): number | undefined => {
      switch (event.key) {
        case 'ArrowRight':
        case 'ArrowUp':
          return this.rank + 1;
        case 'ArrowLeft':
        case 'ArrowDown':
          return this.rank - 1;
        case 'PageUp':
          return this.rank * 2;
        case 'PageDown':
          return Math.ceil(this.rank / 2);
        case 'Home':
          return 1;
        case 'End':
          return last;
        default:
          return undefined;
      }
    })();
    if (next === undefined) return;
    event.preventDefault();
    const rank = Math.min(last, Math.max(1, next));
    if (rank !== this.rank) this.onCut(rank);
  }
}
