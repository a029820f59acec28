/** The quantities that the heat map can show. */
import { formatCount, formatNumber, formatPercent } from '../shared/format';
import { estimate, structure } from './cut';
import { ranksOf, type ExplorerState, type Measure } from './state';

export interface MeasureInfo {
  label: string;
  /** What it means, in a sentence. */
  help: string;
  /** Cell text, short. */
  short: (value: number) => string;
  /** With unit, for tooltips and tables. */
  long: (value: number) => string;
  /** Whether the colours start at zero or at the smallest value present. */
  fromZero: boolean;
}

const percent = (v: number): string => `${Math.round(v * 100)}`;

export const measureInfo: Readonly<Record<Measure, MeasureInfo>> = {
  kept: {
    label: 'Kept energy',
    help: 'Share of the sum of squares that the MPO holds: 1 − error².',
    short: percent,
    long: (v) => formatPercent(v),
    fromZero: true,
  },
  error: {
    label: 'Relative error',
    help: '‖W − MPO‖ / ‖W‖, Frobenius norm.',
    short: percent,
    long: (v) => formatPercent(v),
    fromZero: false,
  },
  compression: {
    label: 'Compression',
    help: 'Entries of the matrix over entries of all cores.',
    short: (v) => (v < 9.95 ? v.toFixed(1) : String(Math.round(v))),
    long: (v) => `${formatNumber(v, 3)} ×`,
    fromZero: true,
  },
  parameters: {
    label: 'Parameters',
    help: 'Entries of all cores: what is trained.',
    short: (v) => formatCount(v).replace(' ', ''),
    long: (v) => `${formatCount(v)} parameters`,
    fromZero: true,
  },
  structure: {
    label: 'Structure',
    help: 'Energy kept beyond the better of the two references (a Gaussian of the same shape, a random matrix with the same spectrum), at the ranks last decomposed.',
    short: (v) => `${v < 0 ? '−' : ''}${Math.abs(v * 100).toFixed(Math.abs(v) < 0.0995 ? 1 : 0)}`,
    long: (v) => `${formatNumber(v * 100, 3)} percentage points`,
    fromZero: false,
  },
};

/** Value of a measure for a module at the ranks shown; exact, or the likely value. */
export function measureOf(
  state: ExplorerState,
  module: string,
  measure: Measure,
): number | undefined {
  const entry = state.results.get(module);
  const ranks = ranksOf(state, module);
  if (entry === undefined || ranks === undefined) return undefined;
  const { result } = entry.prepared;
  if (measure === 'structure') return structure(result);
  const e = estimate(entry.prepared, ranks);
  switch (measure) {
    case 'kept':
      return 1 - e.error ** 2;
    case 'error':
      return e.error;
    case 'compression':
      return (result.rows * result.cols) / e.parameters;
    case 'parameters':
      return e.parameters;
  }
}

/** Whether what `measureOf` gives is an estimate and not exact. */
export function isEstimate(state: ExplorerState, module: string, measure: Measure): boolean {
  if (measure !== 'kept' && measure !== 'error') return false;
  const entry = state.results.get(module);
  const ranks = ranksOf(state, module);
  return entry !== undefined && ranks !== undefined && !estimate(entry.prepared, ranks).exact;
}
