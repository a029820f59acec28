/** What the parts of a check say, judged; knows no device and no process. */
import type { ResidencySample } from '../../test/unit/engine/webgpu/residencySample';

/** `measured` has nothing to be held against; `ended` never came to its end. */
export type Verdict = 'ok' | 'differs' | 'ended' | 'measured';

export interface Check {
  check: string;
  /** null where it was not found out. */
  figure: number | null;
  /** What the figure must stay below. */
  limit?: number;
  note?: string;
  verdict: Verdict;
}

export const exitCodes = { checked: 0, differs: 1, usage: 64, unavailable: 69, ended: 70 } as const;

export function measured(check: string, figure: number | null, note?: string): Check {
  return { check, figure, ...(note !== undefined && { note }), verdict: 'measured' };
}

/** @param figure undefined where the part ended early */
export function held(
  check: string,
  figure: number | undefined,
  limit: number,
  note?: string,
): Check {
  if (figure === undefined) return { check, figure: null, limit, verdict: 'ended' };
  const verdict = figure < limit ? 'ok' : 'differs';
  return { check, figure, limit, ...(note !== undefined && { note }), verdict };
}

export function exitCodeOf(checks: readonly Check[]): number {
  if (checks.some(({ verdict }) => verdict === 'differs')) return exitCodes.differs;
  return checks.some(({ verdict }) => verdict === 'ended') ? exitCodes.ended : exitCodes.checked;
}

export function table(title: string, checks: readonly Check[]): string {
  const text = (figure: number | null | undefined): string => {
    if (figure === undefined) return '';
    if (figure === null) return '-';
    if (figure === 0) return '0';
    const size = Math.abs(figure);
    if (size < 0.01) return figure.toExponential(1);
    return size >= 100 ? figure.toFixed(0) : figure.toPrecision(3);
  };
  const rows = checks.map(({ check, figure, limit, note, verdict }) => {
    const name = note === undefined ? check : `${check} (${note})`;
    const below = limit === undefined ? '' : `< ${text(limit)}`;
    return `| ${name} | ${text(figure)} | ${below} | ${verdict} |`;
  });
  return [`| ${title} | figure | limit | verdict |`, '| --- | ---: | ---: | --- |', ...rows].join(
    '\n',
  );
}

export type Operators = Record<string, { values: (number | 'NaN' | null)[] }>;

/** Widened exactly, and of all sizes: each value is held to its own. */
const widened = new Set(['bf16', 'f16']);
/** Smaller ones may vanish: below 2^-125 bf16 is taken as 0. */
const smallest = 2 ** -125;

/** The operator that differs most from the CPU, relative to its largest value. */
export function worstOperator(cpu: Operators, gpu: Operators): { name: string; error: number } {
  let worst = { name: 'none', error: 0 };
  for (const [name, { values }] of Object.entries(cpu)) {
    // Infinities and NaN of the widened 16-bit patterns: no weight holds them.
    const known = [...values.entries()].filter(
      (entry): entry is [number, number] => typeof entry[1] === 'number',
    );
    const largest = known.reduce((most, [, value]) => Math.max(most, Math.abs(value)), 1);
    for (const [i, value] of known) {
      const other = gpu[name]?.values[i];
      if (widened.has(name) && Math.abs(value) < smallest) continue;
      const scale = widened.has(name) ? Math.abs(value) : largest;
      const error = typeof other === 'number' ? Math.abs(other - value) / scale : Infinity;
      // NaN would lose every comparison.
      if (!(error <= worst.error)) worst = { name, error: Number.isNaN(error) ? Infinity : error };
    }
  }
  return worst;
}

export interface Trained {
  losses: number[];
  norms: number[];
  parameters: number[];
  seconds: number;
  gflop: number;
  deviceMb: number;
}

/** Largest relative difference of losses and norms over all steps, and of all parameters in L2 norm. */
export function trainingErrors(cpu: Trained, gpu: Trained): { steps: number; parameters: number } {
  const worst = (a: readonly number[], b: readonly number[]): number =>
    Math.max(...a.map((value, i) => Math.abs(value / (b[i] as number) - 1)));
  return {
    steps: Math.max(worst(gpu.losses, cpu.losses), worst(gpu.norms, cpu.norms)),
    parameters: distance(gpu.parameters, cpu.parameters),
  };
}

/** ||a - b|| / ||b||; infinite where they have different lengths. */
function distance(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Infinity;
  const norm = (values: readonly number[]): number =>
    Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));
  return norm(b.map((value, i) => (a[i] as number) - value)) / norm(b);
}

/** By case what was computed: numbers, vectors, or how it was refused. */
export type BufferReport = Record<string, Record<string, unknown>>;

/**
 * The largest relative difference of any case. What a GPU of small buffers refuses is no difference, but
 * one has to be computed.
 */
export function bufferError(cpu: BufferReport, gpu: BufferReport): number {
  const errors = Object.entries(cpu).flatMap(([name, values]) => {
    const ours = gpu[name];
    if (ours === undefined) return [Infinity];
    if ('error' in ours) return [];
    return Object.entries(values).flatMap(([key, value]) => {
      const vector = Array.isArray(value) ? (value as unknown[]) : [value];
      if (!vector.every((entry) => typeof entry === 'number')) return [];
      return [distance([ours[key]].flat() as number[], vector)];
    });
  });
  return errors.length === 0 ? Infinity : Math.max(...errors);
}

export interface Loop {
  samples: ResidencySample[];
  [left: `${string} left`]: number;
}

/**
 * @param period steps after which the same batches come again
 * @returns tensors, bytes and sessions that a later step had beyond an earlier one of the same batches, with
 *   those that were left at the end, and MiB that the process grew by
 */
export function leaks(loop: Loop, period: number): { left: number; grownMb: number } {
  const { samples } = loop;
  const [first, last] = [samples[2 * period - 1], samples.at(-1)];
  if (!first || !last || samples.length < 3 * period) return { left: Infinity, grownMb: Infinity };
  const grown = samples.slice(2 * period).map((sample, i) => {
    const before = samples[i + period] as ResidencySample;
    return (['tensors', 'bytes', 'sessions'] as const).reduce(
      (sum, what) => sum + Math.abs(sample[what] - before[what]),
      0,
    );
  });
  const atEnd = Object.entries(loop)
    .filter(([name]) => name.endsWith(' left'))
    .reduce((sum, [, count]) => sum + (count as number), 0);
  return { left: Math.max(...grown) + atEnd, grownMb: (last.rss - first.rss) / 2 ** 20 };
}
