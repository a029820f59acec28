/** The chain of cores as a tensor-network diagram: nodes, physical legs, bonds by dimension. */
import { h, replaceChildren, svg } from '../shared/dom';
import { formatInteger } from '../shared/format';
import type { Prepared } from './cut';

const NODE = 21;
const LEG = 30;
const HEIGHT = 124;
const MIDDLE = 60;

export class Network {
  readonly element = h('div', { class: 'network' });

  constructor(private readonly onBond: (bond: number) => void) {}

  get svg(): SVGSVGElement | null {
    return this.element.querySelector('svg');
  }

  /** @param active bond whose spectrum is in hand, to be marked */
  update(prepared: Prepared, ranks: readonly number[], active: number | undefined): void {
    const { result } = prepared;
    const n = result.rowFactors.length;
    const pitch = n <= 3 ? 150 : n <= 5 ? 118 : 98;
    const width = (n - 1) * pitch + 110;
    const root = svg('svg', {
      attrs: {
        viewBox: `0 0 ${width} ${HEIGHT}`,
        width,
        height: HEIGHT,
        role: 'img',
        'aria-label': describeNetwork(prepared, ranks),
      },
    });
    const x = (k: number): number => 55 + k * pitch;
    const widest = Math.log2(Math.max(2, ...result.bonds.map((b) => b.fullDimension)));
    ranks.forEach((d, k) => {
      const full = result.bonds[k]?.fullDimension ?? d;
      const line = svg('line', {
        class: k === active ? 'bond active' : 'bond',
        attrs: {
          x1: x(k) + NODE,
          x2: x(k + 1) - NODE,
          y1: MIDDLE,
          y2: MIDDLE,
          // From 2 px at rank 1 to 16 px at the widest full bond, in logarithmic steps.
          'stroke-width': (2 + (14 * Math.log2(Math.max(1, d))) / widest).toFixed(1),
        },
      });
      const middle = (x(k) + x(k + 1)) / 2;
      const group = svg(
        'g',
        { class: 'bond-group' },
        svg('rect', {
          class: 'hit',
          attrs: { x: x(k) + NODE, y: MIDDLE - 32, width: pitch - 2 * NODE, height: 52 },
        }),
        line,
        svg(
          'text',
          { class: 'bond-label', attrs: { x: middle, y: MIDDLE - 15, 'text-anchor': 'middle' } },
          svg('tspan', { class: 'strong', text: formatInteger(d) }),
          svg('tspan', { class: 'quiet', text: ` / ${formatInteger(full)}` }),
        ),
        svg('title', {
          text: `Bond ${k + 1}: dimension ${formatInteger(d)} of ${formatInteger(full)}`,
        }),
      );
      group.addEventListener('click', () => {
        this.onBond(k);
      });
      root.append(group);
    });
    result.rowFactors.forEach((i, k) => {
      const j = result.colFactors[k] ?? 1;
      const cx = x(k);
      const shape = [ranks[k - 1] ?? 1, i, j, ranks[k] ?? 1];
      root.append(
        svg(
          'g',
          {},
          svg('line', {
            class: 'leg',
            attrs: { x1: cx, x2: cx, y1: MIDDLE - NODE, y2: MIDDLE - NODE - LEG },
          }),
          svg('line', {
            class: 'leg',
            attrs: { x1: cx, x2: cx, y1: MIDDLE + NODE, y2: MIDDLE + NODE + LEG },
          }),
          svg(
            'text',
            { class: 'leg-label', attrs: { x: cx + 7, y: MIDDLE - NODE - LEG + 12 } },
            ...indexed('i', k + 1, i),
          ),
          svg(
            'text',
            { class: 'leg-label', attrs: { x: cx + 7, y: MIDDLE + NODE + LEG - 3 } },
            ...indexed('j', k + 1, j),
          ),
          svg('circle', { class: 'node', attrs: { cx, cy: MIDDLE, r: NODE } }),
          svg(
            'text',
            { class: 'node-label', attrs: { x: cx, y: MIDDLE + 5, 'text-anchor': 'middle' } },
            'A',
            svg('tspan', { class: 'sub', text: String(k + 1), attrs: { dy: 4 } }),
          ),
          svg('title', {
            text: `Core ${k + 1}: [${shape.map(formatInteger).join(', ')}] = ${formatInteger(shape.reduce((a, b) => a * b, 1))} parameters`,
          }),
        ),
      );
    });
    replaceChildren(this.element, root);
  }
}

function indexed(letter: string, index: number, size: number): SVGTSpanElement[] {
  return [
    svg('tspan', { class: 'italic', text: letter }),
    svg('tspan', { class: 'sub', text: String(index), attrs: { dy: 3 } }),
    svg('tspan', { text: ` = ${size}`, attrs: { dy: -3 } }),
  ];
}

function describeNetwork(prepared: Prepared, ranks: readonly number[]): string {
  const { result } = prepared;
  const cores = result.rowFactors.map(
    (i, k) =>
      `core ${k + 1} with row leg ${i} and column leg ${result.colFactors[k] ?? 1}` +
      (k < ranks.length
        ? `, bond ${ranks[k] ?? 1} of ${result.bonds[k]?.fullDimension ?? 1} to the next`
        : ''),
  );
  return `Chain of ${result.rowFactors.length} cores: ${cores.join('; ')}.`;
}
