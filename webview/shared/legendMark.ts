import { svg } from './dom';
import { cycle, dashes, markers, type Theme } from './theme';

export interface Style {
  color: string;
  dash: readonly number[];
  marker: (typeof markers)[number] | undefined;
}

/** How the series in colour slot `slot` is drawn; dashes and markers only where colour is not enough. */
export function styleOf(theme: Theme, slot: number): Style {
  const distinct = theme.highContrast || slot >= theme.series.length;
  // Where the colours begin again, the others are one further on.
  const turn = Math.floor(slot / theme.series.length);
  return {
    color: cycle(theme.series, slot),
    dash: distinct ? cycle(dashes, slot + turn) : [],
    marker: distinct ? cycle(markers, slot + turn) : undefined,
  };
}

/** A small sample of a line for legends. */
export function legendMark(style: Style, options: { validation?: boolean } = {}): SVGSVGElement {
  const line = svg('line', {
    attrs: { x1: 1, y1: 6, x2: 23, y2: 6, 'stroke-width': 2, 'stroke-linecap': 'round' },
  });
  line.setAttribute('stroke', style.color);
  if (style.dash.length > 0) line.setAttribute('stroke-dasharray', style.dash.join(' '));
  const root = svg(
    'svg',
    { attrs: { width: 24, height: 12, viewBox: '0 0 24 12', 'aria-hidden': 'true' } },
    line,
  );
  const marker = options.validation === true ? (style.marker ?? 'circle') : style.marker;
  if (marker !== undefined) {
    const shape = svg('path', { attrs: { d: markerPath(marker), stroke: style.color } });
    shape.setAttribute('fill', marker === 'cross' || marker === 'plus' ? 'none' : style.color);
    shape.setAttribute('stroke-width', '1.5');
    root.append(shape);
  }
  return root;
}

function markerPath(marker: (typeof markers)[number]): string {
  switch (marker) {
    case 'circle':
      return 'M9 6a3 3 0 1 0 6 0a3 3 0 1 0-6 0z';
    case 'square':
      return 'M9.2 3.2h5.6v5.6h-5.6z';
    case 'triangle':
      return 'M12 2.6l3.6 6h-7.2z';
    case 'diamond':
      return 'M12 2l4 4l-4 4l-4-4z';
    case 'cross':
      return 'M9 3l6 6M15 3l-6 6';
    case 'plus':
      return 'M8.5 6h7M12 2.5v7';
  }
}
