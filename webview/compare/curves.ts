/** Mean curves with their spread, as lines of the shared chart. */
import { meanCurve, type CurveAxis, type MeanCurve, type RunGroup } from '../../src/compare/groups';
import type { ChartLine, Range } from '../chart/lineChart';
import { nearestIndex } from '../chart/reduce';
import type { LegendEntry } from '../metrics/chartCard';
import { formatFixed } from '../shared/format';
import { styleOf } from '../shared/legendMark';
import type { Theme } from '../shared/theme';

export interface ShownGroup {
  group: RunGroup;
  /** Place among all groups: its colour stays when others are hidden. */
  slot: number;
  curve: MeanCurve;
}

export function shownGroups(
  groups: readonly RunGroup[],
  hidden: readonly string[],
  axis: CurveAxis,
): ShownGroup[] {
  return groups
    .map((group, slot) => ({ group, slot, curve: meanCurve(group.runs, axis) }))
    .filter(({ group }) => !hidden.includes(group.key));
}

export function fullRange(shown: readonly ShownGroup[]): Range {
  const xs = shown.flatMap(({ curve }) => curve.x);
  return xs.length === 0 ? { min: 0, max: 1 } : { min: Math.min(...xs), max: Math.max(...xs) };
}

/** The mean as a strong line, mean minus and plus the deviation as faint ones of the same colour. */
export function curveLines(shown: readonly ShownGroup[], theme: Theme): ChartLine[] {
  return shown.flatMap(({ group, slot, curve }) => {
    const style = styleOf(theme, slot);
    const x = Float64Array.from(curve.x);
    const line = (part: 'mean' | 'low' | 'high'): ChartLine => ({
      key: `${group.key}/${part}`,
      color: style.color,
      width: part === 'mean' ? 2 : 1,
      alpha: part === 'mean' ? 1 : 0.45,
      dash: part === 'mean' ? style.dash : [2, 2],
      marker: part === 'mean' ? (style.marker ?? 'circle') : undefined,
      markEvery: 'all',
      points: { x, y: Float64Array.from(curve[part]) },
    });
    const spread = group.runs.length > 1 ? [line('low'), line('high')] : [];
    return [...spread, line('mean')];
  });
}

export function curveLegend(
  shown: readonly ShownGroup[],
  x: number | undefined,
  theme: Theme,
): LegendEntry[] {
  return shown.map(({ group, slot, curve }) => {
    const xs = Float64Array.from(curve.x);
    const i = x === undefined ? xs.length - 1 : nearestIndex(xs, xs.length, x);
    const mean = curve.mean[i];
    const spread = (curve.high[i] ?? NaN) - (mean ?? NaN);
    const value =
      mean === undefined
        ? ''
        : `${formatFixed(mean, 4)}${group.runs.length > 1 ? ` ± ${formatFixed(spread, 4)}` : ''}`;
    return {
      name: group.label,
      kind: `n = ${group.runs.length}`,
      style: styleOf(theme, slot),
      validation: false,
      value,
    };
  });
}
