/** What `dota profile` measures, and how it reads: the command line and the editor say the same. */
import { isNumber, isObject, isOneOf, isString } from './guards';

export interface StepProfile {
  kind: 'cpu' | 'webgpu';
  /** The device's name. */
  device: string;
  /** Steps that were measured. */
  steps: number;
  tokensPerStep: number;
  /** Milliseconds a step, the median, without the profiler. */
  stepMs: number;
  tokensPerSecond: number;
  /** 1e9 floating-point operations of a step's matrix products. */
  gflopPerStep: number;
  /** GFLOP/s of the step's matrix products on their own, on this device. */
  gemmGflops: number;
  /**
   * Share of the machine's GEMM rate: the time of the products on their own by the step's. No share where they
   * are too small for that: then it may be above 1 or below 0.
   */
  gemmShare: number;
  /** How much of each axis attention computes at once, in the first micro-batch. */
  attention: { sequences: number; keyHeads: number; queries: number };
  /** Milliseconds of the step under the profiler that is the median of as many. */
  profiledStepMs: number;
  /**
   * Milliseconds in that step. Nothing where a GPU's driver has no timestamps.
   * Phases on the CPU are whole runs of graphs, on a GPU the sums of their operators.
   */
  operators: Record<string, number>;
  phases: Record<string, number>;
  /** MB (2^20 bytes) by kind. */
  memoryMb: Record<string, number>;
  /** High-water mark of the process's resident memory after the steps. */
  processPeakMb: number;
  /** Of the whole GPU, by all processes; absent where nobody counts. */
  gpuInUseMb?: number;
}

const positive = ['stepMs', 'tokensPerSecond', 'profiledStepMs', 'processPeakMb'] as const;
const numbers = ['steps', 'tokensPerStep', 'gflopPerStep', 'gemmGflops', 'gemmShare'] as const;

export function isStepProfile(value: unknown): value is StepProfile {
  if (!isObject(value) || !isString(value.device) || !isOneOf(['cpu', 'webgpu'], value.kind)) {
    return false;
  }
  const { attention, gpuInUseMb, operators, phases, memoryMb } = value;
  return (
    positive.every((name) => isNumber(value[name]) && value[name] > 0) &&
    numbers.every((name) => isNumber(value[name])) &&
    isObject(attention) &&
    ['sequences', 'keyHeads', 'queries'].every((axis) => isNumber(attention[axis])) &&
    [operators, phases, memoryMb].every(
      (sums) => isObject(sums) && Object.values(sums).every(isNumber),
    ) &&
    (gpuInUseMb === undefined || isNumber(gpuInUseMb))
  );
}

export interface ProfileTable {
  title: string;
  unit: string;
  rows: { name: string; amount: string; share?: string }[];
}

export interface ProfileText {
  /** Sentences that go before the tables. */
  summary: string[];
  tables: ProfileTable[];
  /** Sentences that say what the tables hold. */
  notes: string[];
}

export function profileText(profile: StepProfile): ProfileText {
  const { stepMs, tokensPerStep, tokensPerSecond, attention } = profile;
  return {
    summary: [
      `${threeDigits(stepMs)} ms a step of ${grouped.format(tokensPerStep)} tokens, ${threeDigits(tokensPerSecond)} tokens/s.`,
      gemmSentence(profile),
      `Attention at once: ${attention.sequences} sequences, ${attention.keyHeads} key heads, ${attention.queries} queries.`,
    ],
    tables: [...timeTables(profile), memoryTable(profile)],
    notes: [timeNote(profile), memoryNote(profile)],
  };
}

function gemmSentence({ gflopPerStep, gemmGflops, gemmShare }: StepProfile): string {
  const work = flop(gflopPerStep);
  if (!(gemmShare > 0 && gemmShare <= 1)) {
    return (
      `Share of the machine’s GEMM rate: too small to tell. To call the step’s matrix products (${work}) ` +
      `takes longer than to compute them.`
    );
  }
  return (
    `Share of the machine’s GEMM rate: ${percent(gemmShare)}. On their own, the step’s matrix products ` +
    `(${work}) run at ${flop(gemmGflops)}/s.`
  );
}

type Row = readonly [name: string, ms: number];

/** Both add up to the step under the profiler. */
function timeTables({ kind, operators, phases, profiledStepMs }: StepProfile): ProfileTable[] {
  const inOperators = sum(operators);
  // On a GPU the phases are sums of operators, so nothing is between those.
  if (inOperators === 0) return [];
  const inPhases = sum(phases);
  const rest: Row = [restName(kind), profiledStepMs - inPhases];
  return [
    timeTable('Time by operator', operators, profiledStepMs, [
      ['between operators', inPhases - inOperators],
      rest,
    ]),
    timeTable('Time by phase', phases, profiledStepMs, [rest]),
  ];
}

function restName(kind: StepProfile['kind']): string {
  switch (kind) {
    case 'cpu':
      return 'outside of graphs';
    case 'webgpu':
      return 'outside of operators';
  }
}

/** What takes less of the step is summed up. */
const smallestShare = 0.005;

function timeTable(
  title: string,
  sums: Readonly<Record<string, number>>,
  total: number,
  rest: readonly Row[],
): ProfileTable {
  const largestFirst = Object.entries(sums).sort(([, a], [, b]) => b - a);
  const all: Row[] = [...largestFirst, ...rest.filter(([, ms]) => ms > 0)];
  const shown = all.filter(([, ms]) => ms >= smallestShare * total);
  const others = all.filter(([, ms]) => ms < smallestShare * total);
  const other: Row[] =
    others.length === 0 ? [] : [['other', others.reduce((ms, row) => ms + row[1], 0)]];
  return {
    title,
    unit: 'ms a step',
    rows: [...shown, ...other, ['step under the profiler', total] as const].map(([name, ms]) => ({
      name,
      amount: threeDigits(ms),
      share: percent(ms / total),
    })),
  };
}

function memoryTable({ kind, memoryMb, processPeakMb, gpuInUseMb }: StepProfile): ProfileTable {
  const rows: Row[] = [
    ...Object.entries(memoryMb),
    [kind === 'cpu' ? 'total' : 'total on the GPU', sum(memoryMb)],
    ['process at its peak', processPeakMb],
    ...(gpuInUseMb === undefined ? [] : [['GPU in use by all processes', gpuInUseMb] as const]),
  ];
  return {
    title: 'Memory',
    unit: 'MB',
    rows: rows.map(([name, mb]) => ({ name, amount: threeDigits(mb) })),
  };
}

function timeNote({ kind, operators, stepMs, profiledStepMs }: StepProfile): string {
  const both =
    'Times by operator and by phase are taken under the runtime’s profiler and add up to a step under it: ' +
    `${threeDigits(profiledStepMs)} ms, where it takes ${threeDigits(stepMs)} ms without.`;
  switch (kind) {
    case 'cpu':
      return (
        `${both} The profiler slows small operators most. Between operators the runtime is at work, ` +
        'outside of graphs the trainer.'
      );
    case 'webgpu':
      return sum(operators) === 0
        ? 'This GPU’s driver has no timestamps, so that its operators cannot be timed.'
        : `${both} The GPU times its operators itself; outside of them it waits for the runtime and the trainer.`;
  }
}

function memoryNote({ kind }: StepProfile): string {
  switch (kind) {
    case 'cpu':
      return 'Besides these kinds the process holds Node.js, the runtime, the data, and what the operators at hand work in.';
    case 'webgpu':
      return 'The kinds lie on the GPU; the process holds Node.js, the runtime, the data, and what it passes to the GPU.';
  }
}

function sum(amounts: Readonly<Record<string, number>>): number {
  return Object.values(amounts).reduce((total, amount) => total + amount, 0);
}

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** Three significant digits, all of those before the point: `1,234`, `70.9`, `0.0312`. */
function threeDigits(amount: number): string {
  if (Math.abs(amount) >= 99.95) return grouped.format(amount);
  return amount === 0 ? '0' : amount.toPrecision(3);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Floating-point operations, given in 1e9. */
function flop(giga: number): string {
  for (const [unit, size] of [
    ['TFLOP', 1e3],
    ['GFLOP', 1],
    ['MFLOP', 1e-3],
  ] as const) {
    if (giga >= size) return `${threeDigits(giga / size)} ${unit}`;
  }
  return `${threeDigits(giga * 1e6)} kFLOP`;
}
