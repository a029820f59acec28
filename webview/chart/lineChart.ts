/** A line chart on uPlot: theme colours, dashes and markers, zoom, a cursor shared between charts. */
import uPlot from 'uplot';
import { linearTicks, logTicks } from '../shared/ticks';
import type { Marker, Theme } from '../shared/theme';
import { alignLines, valueRange } from './align';
import { traceMarker } from './markers';
import type { Points } from './reduce';

export interface ChartLine {
  key: string;
  color: string;
  width: number;
  dash: readonly number[];
  /** Opacity; raw values behind a smoothed line are faint. */
  alpha: number;
  marker: Marker | undefined;
  /** `all`: on every point; `sparse`: about every 90 pixels, to tell lines apart. */
  markEvery: 'all' | 'sparse';
  points: Points;
}

export interface Range {
  min: number;
  max: number;
}

export interface ChartEvents {
  /** A range was chosen; undefined = show everything. */
  zoom(range: Range | undefined): void;
  /** The pointer is at this x; undefined = it left. */
  hover(x: number | undefined): void;
}

const WHEEL_FACTOR = 1.25;

export class LineChart {
  private plot: uPlot | undefined;
  private signature = '';
  private lines: readonly ChartLine[] = [];
  private x: Range = { min: 0, max: 1 };
  private y: [number, number] = [0, 1];
  private log = false;
  /** Where the pointer was told to be, in pixels from the left of the plot. */
  private pointer: number | undefined;
  private cursorX: number | undefined;
  private readonly cursor: HTMLElement;

  constructor(
    private readonly host: HTMLElement,
    private theme: Theme,
    private readonly formatX: (value: number) => string,
    private readonly formatY: (value: number) => string,
    private readonly events: ChartEvents,
  ) {
    this.cursor = document.createElement('div');
    this.cursor.className = 'chart-cursor';
    this.cursor.hidden = true;
    host.addEventListener('dblclick', () => {
      events.zoom(undefined);
    });
    host.addEventListener(
      'wheel',
      (event) => {
        // A plain wheel scrolls the page; with Ctrl (or a pinch) or on a focused chart it zooms.
        if (!event.ctrlKey && !event.metaKey && document.activeElement !== host) return;
        event.preventDefault();
        const at = this.valueAtClient(event.clientX);
        if (at !== undefined)
          this.zoomAround(at, event.deltaY > 0 ? WHEEL_FACTOR : 1 / WHEEL_FACTOR);
      },
      { passive: false },
    );
  }

  /** Width of the plotting area in CSS pixels: the number of columns worth reducing to. */
  get columns(): number {
    return Math.max(50, this.host.clientWidth - 70);
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    this.signature = '';
  }

  draw(lines: readonly ChartLine[], x: Range, log: boolean): void {
    this.lines = lines;
    this.x = x.max > x.min ? x : { min: x.min - 0.5, max: x.max + 0.5 };
    this.log = log;
    const visible = lines.map((l) => l.points);
    this.y = valueRange(visible, log, this.x);
    const aligned = alignLines(visible, log);
    const data = [aligned.x, ...aligned.ys] as uPlot.AlignedData;
    const signature = JSON.stringify([
      log,
      lines.map((l) => [l.key, l.color, l.width, l.dash, l.alpha, l.marker]),
    ]);
    const width = this.host.clientWidth;
    const height = this.host.clientHeight;
    if (width === 0 || height === 0) return;
    if (this.plot === undefined || signature !== this.signature) {
      this.plot?.destroy();
      this.signature = signature;
      this.plot = new uPlot(this.options(width, height), data, this.host);
      this.plot.over.append(this.cursor);
    } else {
      if (this.plot.width !== width || this.plot.height !== height) {
        this.plot.setSize({ width, height });
      }
      this.plot.setData(data);
    }
    this.showCursor(this.cursorX);
  }

  /** Places the shared cursor line; undefined hides it. */
  showCursor(x: number | undefined): void {
    this.cursorX = x;
    const inside = x !== undefined && x >= this.x.min && x <= this.x.max;
    this.cursor.hidden = !inside || this.plot === undefined;
    if (inside && this.plot !== undefined) {
      this.cursor.style.transform = `translateX(${Math.round(this.plot.valToPos(x, 'x'))}px)`;
    }
  }

  /** Scales the visible range by `factor` (below 1 = closer), keeping `at` in place. */
  zoomAround(at: number, factor: number): void {
    const { min, max } = this.x;
    this.events.zoom({ min: at - (at - min) * factor, max: at + (max - at) * factor });
  }

  /** Zooms around the cursor, or around the middle when there is none. */
  zoomAtCursor(factor: number): void {
    this.zoomAround(this.cursorX ?? (this.x.min + this.x.max) / 2, factor);
  }

  /** The drawing as shown, for an image. */
  get canvas(): HTMLCanvasElement | undefined {
    return this.plot?.ctx.canvas;
  }

  destroy(): void {
    this.plot?.destroy();
    this.plot = undefined;
  }

  private valueAtClient(clientX: number): number | undefined {
    if (this.plot === undefined) return undefined;
    const left = clientX - this.plot.over.getBoundingClientRect().left;
    return this.plot.posToVal(Math.min(Math.max(left, 0), this.plot.over.clientWidth), 'x');
  }

  private options(width: number, height: number): uPlot.Options {
    const { theme } = this;
    const axis = {
      stroke: theme.muted,
      font: `11px ${theme.font}`,
      grid: { stroke: theme.grid, width: 1 },
      ticks: { stroke: theme.grid, width: 1, size: 4 },
      gap: 4,
    };
    return {
      width,
      height,
      padding: [10, 26, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, range: () => [this.x.min, this.x.max] },
        y: { distr: this.log ? 3 : 1, range: () => this.y },
      },
      axes: [
        {
          ...axis,
          size: 26,
          splits: () => {
            const { min, max } = this.x;
            const count = Math.max(2, Math.floor(this.columns / 90));
            // Steps, tokens and seconds are labelled as whole numbers: between them is no place.
            const whole = linearTicks(min, max, count, 1);
            return whole.length > 0 ? whole : linearTicks(min, max, count);
          },
          values: (_u, splits) => splits.map((v) => this.formatX(v)),
        },
        {
          ...axis,
          // Every tick has its label: uPlot would drop some on a logarithmic scale, leaving null there.
          filter: (_u, splits) => splits,
          size: (_u, values) => Math.max(34, ...(values ?? []).map((v) => v.length * 6.6 + 14)),
          splits: () => {
            const count = Math.max(2, Math.floor((this.host.clientHeight - 40) / 34));
            return this.log
              ? logTicks(this.y[0], this.y[1], count)
              : linearTicks(this.y[0], this.y[1], count);
          },
          values: (_u, splits) => splits.map((v) => this.formatY(v)),
        },
      ],
      series: [
        {},
        ...this.lines.map((line) => ({
          stroke: line.color,
          width: line.width,
          dash: [...line.dash],
          alpha: line.alpha,
          points: { show: false },
        })),
      ],
      cursor: {
        x: false,
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        bind: { dblclick: () => null },
      },
      hooks: {
        draw: [
          (u) => {
            this.drawMarkers(u);
          },
        ],
        setSelect: [
          (u) => {
            const { left, width: w } = u.select;
            if (w > 3) {
              const range = { min: u.posToVal(left, 'x'), max: u.posToVal(left + w, 'x') };
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              this.events.zoom(range);
            }
          },
        ],
        setCursor: [
          (u) => {
            const { left } = u.cursor;
            // Told at every drawing too: a pointer that rests leaves the cursor to the keys.
            if (left === this.pointer) return;
            this.pointer = left;
            this.events.hover(left === undefined || left < 0 ? undefined : u.posToVal(left, 'x'));
          },
        ],
      },
    };
  }

  private drawMarkers(u: uPlot): void {
    const { ctx } = u;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.beginPath();
    // A marker on the edge of the plot is drawn whole.
    const edge = 5 * ratio;
    ctx.rect(
      u.bbox.left - edge,
      u.bbox.top - edge,
      u.bbox.width + 2 * edge,
      u.bbox.height + 2 * edge,
    );
    ctx.clip();
    // uPlot leaves the last line's dashes and opacity behind.
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    this.lines.forEach((line, index) => {
      if (line.marker === undefined) return;
      ctx.beginPath();
      // Lines start at different offsets so that their markers don't fall on one another.
      let next = -Infinity;
      let first = true;
      for (let i = 0; i < line.points.x.length; i++) {
        const value = line.points.y[i] as number;
        if (!Number.isFinite(value) || (this.log && value <= 0)) continue;
        const x = u.valToPos(line.points.x[i] as number, 'x', true);
        if (line.markEvery === 'sparse') {
          if (first) {
            first = false;
            next = u.bbox.left + (20 + index * 23) * ratio;
          }
          if (x < next) continue;
          next = x + 90 * ratio;
        }
        traceMarker(ctx, line.marker, x, u.valToPos(value, 'y', true), 7 * ratio);
      }
      ctx.fillStyle = line.color;
      ctx.strokeStyle = this.theme.background;
      ctx.lineWidth = 1.5 * ratio;
      if (line.marker === 'cross' || line.marker === 'plus') {
        ctx.strokeStyle = line.color;
      } else {
        ctx.fill();
      }
      ctx.stroke();
    });
    ctx.restore();
  }
}
