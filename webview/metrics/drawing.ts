/** From rows to lines: reduction, smoothing and style of every series of a chart. */
import { Blocks } from '../chart/blocks';
import type { ChartLine, Range } from '../chart/lineChart';
import { nearestIndex, reduceSeries } from '../chart/reduce';
import { Smoother } from '../chart/smooth';
import { styleOf } from '../shared/legendMark';
import { cycle, markers, type Theme } from '../shared/theme';
import type { LegendEntry } from './chartCard';
import type { RunData } from './runData';
import type { ChartSpec } from './series';
import type { ViewState, XAxis } from './state';

export interface ShownRun {
  id: string;
  name: string;
  slot: number;
  data: RunData;
}

/**
 * What is derived from the columns of each run and worth keeping: smoothed values and blocks of
 * extremes. Extended as rows arrive, restarted when rows are removed.
 */
export class DerivedCache {
  private readonly raw = new Map<string, { blocks: Blocks; generation: number }>();
  private readonly smooth = new Map<
    string,
    { smoother: Smoother; blocks: Blocks; generation: number }
  >();

  blocksOf(id: string, data: RunData, column: ChartSpec['column']): Blocks {
    const key = `${id}\n${column}`;
    const { generation, length } = data.steps;
    let entry = this.raw.get(key);
    if (entry?.generation !== generation) {
      entry = { blocks: new Blocks(), generation };
      this.raw.set(key, entry);
    }
    return entry.blocks.update(data.steps.column(column), length);
  }

  smoothed(
    id: string,
    data: RunData,
    column: ChartSpec['column'],
    weight: number,
  ): { values: Float64Array; blocks: Blocks } {
    const key = `${id}\n${column}`;
    const { generation, length } = data.steps;
    let entry = this.smooth.get(key);
    if (entry?.smoother.weight !== weight || entry.generation !== generation) {
      entry = { smoother: new Smoother(weight), blocks: new Blocks(), generation };
      this.smooth.set(key, entry);
    }
    const values = entry.smoother.update(data.steps.column(column), length);
    return { values, blocks: entry.blocks.update(values, length) };
  }

  /** Drops a run that is no longer shown. */
  forget(id: string): void {
    for (const map of [this.raw, this.smooth]) {
      for (const key of map.keys()) if (key.startsWith(`${id}\n`)) map.delete(key);
    }
  }
}

/** The range of x over all rows of the shown runs. */
export function fullRange(runs: readonly ShownRun[], axis: XAxis): Range {
  let min = Infinity;
  let max = -Infinity;
  for (const { data } of runs) {
    for (const store of [data.steps, data.evals]) {
      if (store.length === 0) continue;
      const x = store.column(axis);
      min = Math.min(min, x[0] as number);
      max = Math.max(max, x[store.length - 1] as number);
    }
  }
  return min <= max ? { min, max } : { min: 0, max: 1 };
}

export function linesOf(
  spec: ChartSpec,
  runs: readonly ShownRun[],
  view: ViewState,
  range: Range,
  columns: number,
  theme: Theme,
  cache: DerivedCache,
): ChartLine[] {
  const lines: ChartLine[] = [];
  const smooth = spec.smooth && view.smoothing > 0;
  for (const run of runs) {
    const { steps, evals } = run.data;
    const style = styleOf(theme, run.slot);
    const reduce = (y: Float64Array, blocks: Blocks): ChartLine['points'] =>
      reduceSeries(
        steps.column(view.xAxis),
        y,
        steps.length,
        range.min,
        range.max,
        columns,
        blocks,
      );
    const base = { color: style.color, markEvery: 'sparse' as const };
    lines.push({
      ...base,
      key: `${run.id}/raw`,
      width: smooth ? 1 : 1.75,
      alpha: smooth ? 0.32 : 1,
      dash: smooth ? [] : style.dash,
      marker: smooth ? undefined : style.marker,
      points: reduce(steps.column(spec.column), cache.blocksOf(run.id, run.data, spec.column)),
    });
    if (smooth) {
      const derived = cache.smoothed(run.id, run.data, spec.column, view.smoothing);
      lines.push({
        ...base,
        key: `${run.id}/smooth`,
        width: 2,
        alpha: 1,
        dash: style.dash,
        marker: style.marker,
        points: reduce(derived.values, derived.blocks),
      });
    }
    if (spec.validation && evals.length > 0) {
      lines.push({
        ...base,
        key: `${run.id}/validation`,
        width: 1.5,
        alpha: 1,
        dash: [4, 3],
        marker: theme.highContrast ? cycle(markers, run.slot) : 'circle',
        markEvery: 'all',
        points: reduceSeries(
          evals.column(view.xAxis),
          evals.column('loss'),
          evals.length,
          range.min,
          range.max,
          columns,
        ),
      });
    }
  }
  return lines;
}

/** A legend entry's name in one string. */
export function entryName(entry: LegendEntry): string {
  return entry.kind === '' ? entry.name : `${entry.name} ${entry.kind}`;
}

/**
 * Legend entries with the exact recorded values nearest to `x`, or the newest when there is no
 * cursor. Values are the journal's, not the smoothed or reduced ones.
 */
export function legendOf(
  spec: ChartSpec,
  runs: readonly ShownRun[],
  axis: XAxis,
  x: number | undefined,
  theme: Theme,
): LegendEntry[] {
  return runs.flatMap((run) => {
    const style = styleOf(theme, run.slot);
    const { steps, evals } = run.data;
    const pick = (column: Float64Array, xs: Float64Array, length: number): string => {
      const i = x === undefined ? length - 1 : nearestIndex(xs, length, x);
      return i < 0 ? '' : spec.format(column[i] as number);
    };
    const entries: LegendEntry[] = [
      {
        name: run.name,
        kind: spec.validation ? 'training' : '',
        style,
        validation: false,
        value: pick(steps.column(spec.column), steps.column(axis), steps.length),
      },
    ];
    if (spec.validation && evals.length > 0) {
      entries.push({
        name: run.name,
        kind: 'validation',
        style: { ...style, dash: [4, 3] },
        validation: true,
        value: pick(evals.column('loss'), evals.column(axis), evals.length),
      });
    }
    return entries;
  });
}
