/** Figures of a comparison as SVG text: the same for the panel, the command line and a report. */
import { meanCurve, paretoFront, type CurveAxis, type RunGroup } from './groups';

export interface FigureStyle {
  background: string;
  foreground: string;
  muted: string;
  grid: string;
  series: readonly string[];
  /** Dash patterns beside the colours, so that colour alone tells nothing. */
  dashes: readonly (readonly number[])[];
  font: string;
}

/** For paper and for pages: dark on white; colours of Okabe and Ito, told apart by colour-blind eyes. */
export const printStyle: FigureStyle = {
  background: '#ffffff',
  foreground: '#1a1a1a',
  muted: '#555555',
  grid: '#dddddd',
  series: ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#8a6d00', '#56b4e9', '#444444', '#e69f00'],
  dashes: [[], [7, 3], [2, 3], [9, 3, 2, 3], [5, 5], [12, 4], [3, 2], [1, 2]],
  font: 'system-ui, sans-serif',
};

/** Pixels across of a figure that nobody asks for in another width. */
const usualWidth = 760;
/** Room around the plot; the legend takes the right, as much as its labels need. */
const plot = { left: 62, top: 34, bottom: 46 };
const longestLabel = 30;
/** Pixels before a label of the legend, with its mark. */
const labelStart = 42;

interface Axis {
  min: number;
  max: number;
  log: boolean;
  title: string;
}

interface Frame {
  width: number;
  height: number;
  /** What the legend says of each group. */
  labels: readonly string[];
  x: Axis;
  y: Axis;
  title: string;
  style: FigureStyle;
}

const axisTitles: Readonly<Record<CurveAxis, string>> = {
  step: 'step',
  tokens: 'tokens',
  elapsed: 'seconds of training',
};

export interface FigureOptions {
  title: string;
  style?: FigureStyle;
  /** Stands on the drawing itself, e.g. that a study is incomplete. */
  note?: string;
  /** Pixels across; the letters keep their size. */
  width?: number;
}

export interface CurveOptions extends FigureOptions {
  axis: CurveAxis;
}

/** Mean validation loss of each group with a band of one standard deviation over its seeds. */
export function curvesSvg(groups: readonly RunGroup[], options: CurveOptions): string {
  const style = options.style ?? printStyle;
  const curves = groups.map(({ runs }) => meanCurve(runs, options.axis));
  const xs = curves.flatMap(({ x }) => x);
  const ys = curves.flatMap(({ low, high }) => [...low, ...high]).filter((y) => y > 0);
  const log = ys.length > 0 && Math.max(...ys) / Math.min(...ys) > 8;
  const frame: Frame = {
    width: options.width ?? usualWidth,
    height: Math.max(360, 70 + 20 * groups.length),
    labels: groups.map(({ label, runs }) => `${shortened(label)} (n = ${runs.length})`),
    x: { ...range(xs, false), title: axisTitles[options.axis] },
    y: { ...range(ys, log), title: 'validation loss, nats per token' },
    title: options.title,
    style,
  };
  const place = placer(frame);
  const marks = curves.map((curve, i) => {
    const points = curve.x.map((x, k) => place(x, curve.mean[k] ?? NaN));
    const floor = frame.y.log ? frame.y.min : -Infinity;
    const up = curve.x.map((x, k) => place(x, curve.high[k] ?? NaN));
    const down = curve.x.map((x, k) => place(x, Math.max(floor, curve.low[k] ?? NaN)));
    const color = cycle(style.series, i);
    const dash = cycle(style.dashes, i);
    const dashed = dash.length === 0 ? '' : ` stroke-dasharray="${dash.join(' ')}"`;
    return [
      points.length < 2
        ? ''
        : `<polygon points="${[...up, ...down.reverse()].join(' ')}" fill="${color}" opacity="0.14"/>`,
      `<polyline points="${points.join(' ')}" fill="none" stroke="${color}" stroke-width="2"${dashed}/>`,
    ].join('');
  });
  return svg(frame, [...marks, legend(frame), noteText(frame, options.note)]);
}

/** Parameters against best validation loss, with error bars over seeds and the front joined. */
export function paretoSvg(groups: readonly RunGroup[], options: FigureOptions): string {
  const style = options.style ?? printStyle;
  const shown = groups.filter((g) => (g.parameters ?? 0) > 0 && g.best !== undefined);
  const bars = shown.map(({ best }) => {
    const margin = best === undefined || Number.isNaN(best.sd) ? 0 : best.sd;
    return [(best?.mean ?? NaN) - margin, (best?.mean ?? NaN) + margin] as const;
  });
  const parameters = shown.map((g) => g.parameters ?? NaN);
  const frame: Frame = {
    width: options.width ?? usualWidth,
    height: Math.max(360, 70 + 20 * groups.length),
    labels: groups.map(({ label }) => shortened(label)),
    x: { ...range(parameters, true), title: 'trainable parameters' },
    y: { ...range(bars.flat(), false), title: 'best validation loss, nats per token' },
    title: options.title,
    style,
  };
  const place = placer(frame);
  const front = paretoFront(shown).map((g) => place(g.parameters ?? NaN, g.best?.mean ?? NaN));
  const marks = shown.map((group, i) => {
    const index = groups.indexOf(group);
    const color = cycle(style.series, index);
    const x = group.parameters ?? NaN;
    const [low, high] = bars[i] ?? [NaN, NaN];
    const [cx, cy] = place(x, group.best?.mean ?? NaN).split(',');
    const [, y1] = place(x, low).split(',');
    const [, y2] = place(x, high).split(',');
    return (
      `<line x1="${cx ?? ''}" x2="${cx ?? ''}" y1="${y1 ?? ''}" y2="${y2 ?? ''}" stroke="${color}" stroke-width="1.5"/>` +
      shape(index, Number(cx), Number(cy), color)
    );
  });
  const joined =
    front.length < 2
      ? ''
      : `<polyline points="${front.join(' ')}" fill="none" stroke="${style.muted}" stroke-width="1" stroke-dasharray="3 3"/>`;
  return svg(frame, [joined, ...marks, legend(frame, true), noteText(frame, options.note)]);
}

/** Pixels across below which the labels of the axis run into each other. */
export function leastParetoWidth(groups: readonly RunGroup[]): number {
  return plot.left + 220 + legendRoom(groups.map(({ label }) => shortened(label)));
}

function shortened(label: string): string {
  return label.length > longestLabel ? `${label.slice(0, longestLabel - 1)}…` : label;
}

/** Pixels that the legend takes, at 12 pixels a line: a letter is 6.6 wide on the average, at most. */
function legendRoom(labels: readonly string[]): number {
  return labelStart + 8 + Math.ceil(6.6 * Math.max(0, ...labels.map(({ length }) => length)));
}

/** Marks differ in form as well as in colour. */
function shape(index: number, x: number, y: number, color: string): string {
  const r = 5;
  const at = (points: readonly (readonly [number, number])[]): string =>
    `<polygon points="${points.map(([dx, dy]) => `${n(x + dx)},${n(y + dy)}`).join(' ')}" fill="${color}"/>`;
  switch (index % 4) {
    case 0:
      return `<circle cx="${n(x)}" cy="${n(y)}" r="${r}" fill="${color}"/>`;
    case 1:
      return `<rect x="${n(x - r)}" y="${n(y - r)}" width="${2 * r}" height="${2 * r}" fill="${color}"/>`;
    case 2:
      return at([
        [0, -r],
        [r, r],
        [-r, r],
      ]);
    default:
      return at([
        [0, -r - 1],
        [r + 1, 0],
        [0, r + 1],
        [-r - 1, 0],
      ]);
  }
}

function range(
  values: readonly number[],
  log: boolean,
): { min: number; max: number; log: boolean } {
  const finite = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  if (finite.length === 0) return { min: log ? 1 : 0, max: log ? 10 : 1, log };
  const min = Math.min(...finite);
  const max = Math.max(...finite);
  if (log) return { min: min / 1.2, max: max * 1.2, log };
  const pad = max > min ? 0.04 * (max - min) : Math.max(1e-9, Math.abs(max) * 0.1);
  return { min: min - pad, max: max + pad, log };
}

function placer({ width, height, labels, x, y }: Frame): (vx: number, vy: number) => string {
  const across = width - plot.left - legendRoom(labels);
  const down = height - plot.top - plot.bottom;
  return (vx, vy) =>
    `${n(plot.left + across * share(x, vx))},${n(plot.top + down * (1 - share(y, vy)))}`;
}

function share({ min, max, log }: Axis, value: number): number {
  return log
    ? Math.log(Math.max(value, min) / min) / Math.log(max / min)
    : (value - min) / (max - min);
}

function svg(frame: Frame, parts: readonly string[]): string {
  const { width, height, style, title } = frame;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${escapeXml(style.font)}" font-size="12" role="img" aria-label="${escapeXml(title)}">`,
    `<rect width="${width}" height="${height}" fill="${style.background}"/>`,
    `<text x="${plot.left}" y="20" font-size="14" font-weight="600" fill="${style.foreground}">${escapeXml(title)}</text>`,
    axes(frame),
    ...parts.filter((part) => part !== ''),
    '</svg>',
    '',
  ].join('\n');
}

function axes(frame: Frame): string {
  const { width, height, labels, style, x, y } = frame;
  const bottom = height - plot.bottom;
  const right = width - legendRoom(labels);
  const rows = ticks(y);
  const columns = ticks(x);
  const vertical = rows.map((value) => {
    const at = n(plot.top + (bottom - plot.top) * (1 - share(y, value)));
    return (
      `<line x1="${plot.left}" x2="${right}" y1="${at}" y2="${at}" stroke="${style.grid}"/>` +
      `<text x="${plot.left - 6}" y="${n(Number(at) + 4)}" text-anchor="end" fill="${style.muted}">${tickText(value, y, rows)}</text>`
    );
  });
  const horizontal = columns.map((value) => {
    const at = n(plot.left + (right - plot.left) * share(x, value));
    return `<text x="${at}" y="${bottom + 18}" text-anchor="middle" fill="${style.muted}">${tickText(value, x, columns)}</text>`;
  });
  const middle = n((plot.top + bottom) / 2);
  return [
    ...vertical,
    `<line x1="${plot.left}" x2="${right}" y1="${bottom}" y2="${bottom}" stroke="${style.muted}"/>`,
    ...horizontal,
    `<text x="${n((plot.left + right) / 2)}" y="${height - 8}" text-anchor="middle" fill="${style.foreground}">${escapeXml(x.title)}</text>`,
    `<text x="14" y="${middle}" transform="rotate(-90 14 ${middle})" text-anchor="middle" fill="${style.foreground}">${escapeXml(y.title)}</text>`,
  ].join('\n');
}

/** About five round values, of a logarithmic axis 1, 2 and 5 times powers of ten. */
function ticks({ min, max, log }: Axis): number[] {
  if (log) {
    const found: number[] = [];
    for (let p = Math.floor(Math.log10(min)); p <= Math.ceil(Math.log10(max)); p++) {
      for (const m of [1, 2, 5]) found.push(m * 10 ** p);
    }
    const inside = found.filter((v) => v >= min && v <= max);
    return inside.length <= 8 ? inside : inside.filter((v) => Number.isInteger(Math.log10(v)));
  }
  const raw = (max - min) / 5;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * ([1, 2, 5, 10].find((m) => m * unit >= raw) ?? 10);
  const first = Math.ceil(min / step);
  return Array.from({ length: Math.floor(max / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** In thousands and millions where that is shorter; below, all of a linear axis with the same digits. */
function tickText(value: number, { log }: Axis, all: readonly number[]): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e3) return `${Number((value / 1e3).toPrecision(3))}k`;
  const shortest = (v: number): string => String(Number(v.toPrecision(3)));
  if (log) return shortest(value);
  const digits = Math.max(...all.map((v) => shortest(v).split('.')[1]?.length ?? 0));
  return value.toFixed(digits);
}

function legend({ width, labels, style }: Frame, points = false): string {
  const x = width - legendRoom(labels) + labelStart - 28;
  return labels
    .map((label, i) => {
      const y = plot.top + 10 + 20 * i;
      const color = cycle(style.series, i);
      const dash = cycle(style.dashes, i);
      const dashed = dash.length === 0 ? '' : ` stroke-dasharray="${dash.join(' ')}"`;
      const mark = points
        ? shape(i, x + 11, y, color)
        : `<line x1="${x}" x2="${x + 22}" y1="${y}" y2="${y}" stroke="${color}" stroke-width="2"${dashed}/>`;
      return `${mark}<text x="${x + 28}" y="${y + 4}" fill="${style.foreground}">${escapeXml(label)}</text>`;
    })
    .join('\n');
}

function noteText({ style, width, height }: Frame, note: string | undefined): string {
  if (note === undefined) return '';
  return `<text x="${width - 10}" y="${height - 8}" text-anchor="end" font-style="italic" fill="${style.muted}">${escapeXml(note)}</text>`;
}

function cycle<T>(list: readonly T[], i: number): T {
  return list[i % list.length] as T;
}

function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
  };
  return text.replace(/[&<>"]/g, (c) => entities[c] ?? c);
}
