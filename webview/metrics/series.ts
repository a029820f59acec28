/** The charts of the panel and the units of what they show. */
import type { StepColumns } from '../../src/protocol/metricsPanel';
import {
  formatCount,
  formatDuration,
  formatInteger,
  formatMegabytes,
  formatNumber,
} from '../shared/format';
import type { XAxis } from './state';

export interface ChartSpec {
  id: string;
  title: string;
  unit: string;
  column: keyof StepColumns;
  /** Draw the validation loss as well. */
  validation: boolean;
  /** Whether smoothing applies: a schedule or a memory curve says more unsmoothed. */
  smooth: boolean;
  /** Whether the log switch applies. */
  log: boolean;
  /** Of runs on a GPU alone: left out where no run shown has a value. */
  optional?: boolean;
  format: (value: number) => string;
}

export const charts: readonly ChartSpec[] = [
  {
    id: 'loss',
    title: 'Loss',
    unit: 'nats per token',
    column: 'loss',
    validation: true,
    smooth: true,
    log: true,
    format: (v) => formatNumber(v, 4),
  },
  {
    id: 'gradNorm',
    title: 'Gradient norm',
    unit: 'L2, before clipping',
    column: 'gradNorm',
    validation: false,
    smooth: true,
    log: true,
    format: (v) => formatNumber(v, 4),
  },
  {
    id: 'learningRate',
    title: 'Learning rate',
    unit: 'per step',
    column: 'learningRate',
    validation: false,
    smooth: false,
    log: true,
    format: (v) => formatNumber(v, 3),
  },
  {
    id: 'tokensPerSecond',
    title: 'Speed',
    unit: 'tokens/s',
    column: 'tokensPerSecond',
    validation: false,
    smooth: true,
    log: false,
    format: (v) => (v >= 10_000 ? formatCount(v) : formatInteger(v)),
  },
  {
    id: 'rssMb',
    title: 'Memory',
    unit: 'MB resident',
    column: 'rssMb',
    validation: false,
    smooth: false,
    log: false,
    format: (v) => formatInteger(v),
  },
  {
    id: 'deviceMb',
    title: 'GPU memory',
    unit: 'MB in use',
    column: 'deviceMb',
    validation: false,
    smooth: false,
    log: false,
    optional: true,
    format: (v) => formatMegabytes(v),
  },
];

export const xAxisLabels: Readonly<Record<XAxis, string>> = {
  step: 'Step',
  tokens: 'Tokens',
  elapsed: 'Time',
};

/** Axis labels, short. */
export function formatX(axis: XAxis, value: number): string {
  switch (axis) {
    case 'step':
      return formatInteger(value);
    case 'tokens':
      return formatCount(value);
    case 'elapsed':
      return formatDuration(value);
  }
}

/** The x position in words, for tooltips and screen readers. */
export function describeX(axis: XAxis, value: number): string {
  switch (axis) {
    case 'step':
      return `step ${formatInteger(value)}`;
    case 'tokens':
      return `${formatCount(value)} tokens`;
    case 'elapsed':
      return `${formatDuration(value)} of training`;
  }
}
