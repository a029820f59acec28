/**
 * Messages between the extension host and the metrics panel. Numbers travel as columns of doubles,
 * so that the panel shows, exports and compares exactly what the journal says. The panel keeps no
 * rows across a reload: it asks for "everything after row seq" and the host reads the journal.
 */
import type { SerializedError } from './errors';
import { isNumber, isObject, isOneOf, isString, isStringArray } from './guards';
import type { RunDevice } from './deviceText';
import type { RunFingerprint, RunState } from './runFiles';

/** A value of the configuration that differs from its default, both as JSON text. */
export interface ChangedSetting {
  /** Dotted key, e.g. `training.learning_rate`. */
  key: string;
  value: string;
  default: string;
}

/** What the panel knows of a run besides its rows: the manifest in short. */
export interface RunSummary {
  id: string;
  name: string;
  state: RunState;
  createdAt: string;
  startedAt?: string;
  endedAt?: string;
  /** Name of the model, e.g. `sample`. */
  model: string;
  /** Of the configuration, e.g. `dota`. */
  method: string;
  device?: RunDevice;
  /** What the trainer is doing before, between and after its steps, in words. */
  activity?: string;
  progress?: { step: number; totalSteps: number; epoch: number; tokens: number };
  best?: { step: number; validationLoss: number };
  trainable?: { parameters: number; fraction: number };
  peakRssMb?: number;
  peakDeviceMb?: number;
  /** What was expected before the first step; on a GPU the memory is the GPU's. */
  estimate?: { peakRssMb: number; secondsPerStep?: number };
  /** Facts that decide whether two runs may be compared. */
  fingerprint?: RunFingerprint;
  changedSettings: readonly ChangedSetting[];
  error?: SerializedError;
  /** Why this window can't control the run (another window owns it, ...); undefined = it can. */
  controlDisabledReason?: string;
  /** True when the trainer has not answered: Force Stop is offered. */
  unresponsive?: boolean;
}

/** `step` rows of the journal as columns of equal length. Units as in `JournalRow`. */
export interface StepColumns {
  step: Float64Array;
  tokens: Float64Array;
  elapsed: Float64Array;
  loss: Float64Array;
  learningRate: Float64Array;
  gradNorm: Float64Array;
  tokensPerSecond: Float64Array;
  rssMb: Float64Array;
  /** NaN where the run is on no GPU. */
  deviceMb: Float64Array;
}
export const stepColumnNames = [
  'step',
  'tokens',
  'elapsed',
  'loss',
  'learningRate',
  'gradNorm',
  'tokensPerSecond',
  'rssMb',
  'deviceMb',
] as const satisfies readonly (keyof StepColumns)[];

/** `eval` rows of the journal as columns of equal length. */
export interface EvalColumns {
  step: Float64Array;
  tokens: Float64Array;
  elapsed: Float64Array;
  loss: Float64Array;
}
export const evalColumnNames = [
  'step',
  'tokens',
  'elapsed',
  'loss',
] as const satisfies readonly (keyof EvalColumns)[];

export type MetricsHostMessage =
  /** Answer to `ready`. `selected` is what the user opened the panel for; the first one leads. */
  | { type: 'init'; runs: readonly RunSummary[]; selected: readonly string[] }
  /** A run appeared or changed (state, progress, name, ...). */
  | { type: 'run'; run: RunSummary }
  | { type: 'removed'; runId: string }
  /** Show these runs as well (the user opened another run). */
  | { type: 'select'; runIds: readonly string[] }
  /**
   * New rows, in journal order. Large journals come in several messages (aim: 100,000 rows each)
   * with `complete: false` on all but the last. At most 10 a second while live.
   */
  | {
      type: 'append';
      runId: string;
      /** Highest journal `seq` contained or superseded so far; what `since` repeats. */
      seq: number;
      /** True: discard every row of this run first (journal replaced or truncated). */
      reset?: boolean;
      /** From a `resume` row: rows with a step above this are dropped before appending. */
      supersedeAbove?: number;
      steps: StepColumns;
      evals: EvalColumns;
      complete: boolean;
    }
  /** Last lines of the run's log, oldest first; sent when a run failed or crashed. */
  | { type: 'log'; runId: string; lines: readonly string[] }
  /** Something the panel should say that belongs to no run, or to one. */
  | { type: 'error'; runId?: string; error: SerializedError };

export const runCommands = ['stop', 'pause', 'resume', 'forceStop'] as const;
export type RunCommand = (typeof runCommands)[number];
export const runLinks = ['log', 'config', 'folder', 'tree'] as const;
export type RunLink = (typeof runLinks)[number];

export type MetricsViewMessage =
  /** First message after every load. `since`: run id -> highest seq held, for shown runs. */
  | { type: 'ready'; since: Readonly<Record<string, number>> }
  /** The runs whose rows the panel wants, with what it holds of each (-1 = nothing). */
  | { type: 'subscribe'; since: Readonly<Record<string, number>> }
  | { type: 'command'; runId: string; command: RunCommand }
  | { type: 'open'; runId: string; what: RunLink }
  /** Ask for the Fine-tune command (empty state). */
  | { type: 'startRun' }
  /** Save with a dialog. Text for csv, bytes for png. */
  | { type: 'exportCsv'; fileName: string; text: string }
  | { type: 'exportPng'; fileName: string; bytes: Uint8Array };

function isSince(value: unknown): value is Record<string, number> {
  return isObject(value) && Object.values(value).every(isNumber);
}

/** Checks a message from the panel; undefined = not one of ours (the host ignores it). */
export function parseMetricsViewMessage(raw: unknown): MetricsViewMessage | undefined {
  if (!isObject(raw)) return undefined;
  const m = raw;
  switch (m.type) {
    case 'ready':
    case 'subscribe':
      return isSince(m.since) ? { type: m.type, since: m.since } : undefined;
    case 'command':
      return isString(m.runId) && isOneOf(runCommands, m.command)
        ? { type: 'command', runId: m.runId, command: m.command }
        : undefined;
    case 'open':
      return isString(m.runId) && isOneOf(runLinks, m.what)
        ? { type: 'open', runId: m.runId, what: m.what }
        : undefined;
    case 'startRun':
      return { type: 'startRun' };
    case 'exportCsv':
      return isString(m.fileName) && isString(m.text)
        ? { type: 'exportCsv', fileName: m.fileName, text: m.text }
        : undefined;
    case 'exportPng':
      return isString(m.fileName) && m.bytes instanceof Uint8Array
        ? { type: 'exportPng', fileName: m.fileName, bytes: m.bytes }
        : undefined;
    default:
      return undefined;
  }
}

function areColumns(value: unknown, names: readonly string[]): boolean {
  if (!isObject(value)) return false;
  const columns = names.map((name) => value[name]);
  const first = columns[0];
  if (!(first instanceof Float64Array)) return false;
  return columns.every((c) => c instanceof Float64Array && c.length === first.length);
}

function isRunSummary(value: unknown): value is RunSummary {
  return (
    isObject(value) &&
    isString(value.id) &&
    isString(value.name) &&
    isString(value.state) &&
    Array.isArray(value.changedSettings)
  );
}

/** Checks a message from the host; undefined = not one of ours (the panel ignores it). */
export function parseMetricsHostMessage(raw: unknown): MetricsHostMessage | undefined {
  if (!isObject(raw)) return undefined;
  const ok = ((): boolean => {
    switch (raw.type) {
      case 'init':
        return (
          Array.isArray(raw.runs) && raw.runs.every(isRunSummary) && isStringArray(raw.selected)
        );
      case 'run':
        return isRunSummary(raw.run);
      case 'removed':
        return isString(raw.runId);
      case 'select':
        return isStringArray(raw.runIds);
      case 'append':
        return (
          isString(raw.runId) &&
          isNumber(raw.seq) &&
          areColumns(raw.steps, stepColumnNames) &&
          areColumns(raw.evals, evalColumnNames)
        );
      case 'log':
        return isString(raw.runId) && isStringArray(raw.lines);
      case 'error':
        return isObject(raw.error) && isString(raw.error.message);
      default:
        return false;
    }
  })();
  return ok ? (raw as unknown as MetricsHostMessage) : undefined;
}
