import { ColumnStore } from '../chart/columns';
import { lowerBound } from '../chart/reduce';
import {
  evalColumnNames,
  stepColumnNames,
  type EvalColumns,
  type MetricsHostMessage,
  type StepColumns,
} from '../../src/protocol/metricsPanel';

export type AppendMessage = Extract<MetricsHostMessage, { type: 'append' }>;

/** The rows of one run as the journal has them, superseded ones removed. */
export class RunData {
  readonly steps = new ColumnStore<keyof StepColumns>(stepColumnNames);
  readonly evals = new ColumnStore<keyof EvalColumns>(evalColumnNames);
  /** Highest journal seq taken in; -1 = none. */
  seq = -1;
  /** Of the training losses, kept up to date as rows come. */
  readonly trainLoss = new LossStatistics();
  readonly validationLoss = new LossStatistics();
  /** Whether any row tells the memory in use on a GPU. */
  onGpu = false;
  /** False while the host is still replaying the journal. */
  complete = false;

  append(message: AppendMessage): void {
    if (message.reset === true) {
      this.steps.truncate(0);
      this.evals.truncate(0);
    }
    if (message.supersedeAbove !== undefined) {
      const above = message.supersedeAbove;
      for (const store of [this.steps, this.evals]) {
        // Steps are integers, so the first step above `above` is the first >= above + 1.
        store.truncate(lowerBound(store.column('step'), store.length, above + 1));
      }
    }
    // What was begun on a GPU may go on from its first step without one.
    if (this.steps.length === 0) this.onGpu = false;
    this.steps.append(message.steps);
    this.onGpu ||= message.steps.deviceMb.some(Number.isFinite);
    this.evals.append(message.evals);
    this.trainLoss.update(this.steps);
    this.validationLoss.update(this.evals);
    this.seq = Math.max(this.seq, message.seq);
    this.complete = message.complete;
  }
}

/** Smallest finite loss, where it stands, and how many are not finite; reads each row once. */
export class LossStatistics {
  best: { index: number; value: number } | undefined;
  notFinite = 0;
  private done = 0;
  private generation = 0;

  update(store: ColumnStore<keyof StepColumns> | ColumnStore<keyof EvalColumns>): void {
    const loss = store.column('loss');
    if (store.generation !== this.generation) {
      this.generation = store.generation;
      this.done = 0;
      this.notFinite = 0;
      this.best = undefined;
    }
    for (; this.done < store.length; this.done++) {
      const value = loss[this.done] as number;
      if (!Number.isFinite(value)) this.notFinite += 1;
      else if (this.best === undefined || value < this.best.value) {
        this.best = { index: this.done, value };
      }
    }
  }
}

/**
 * Seconds of training left, from the pace of the last rows (up to 50): a run's speed changes with
 * evaluation, other load and sequence length, so the mean over the whole run would lag.
 */
export function secondsLeft(data: RunData, totalSteps: number): number | undefined {
  const { steps } = data;
  const last = steps.length - 1;
  const first = Math.max(0, last - 50);
  if (last - first < 1) return undefined;
  const step = steps.column('step');
  const elapsed = steps.column('elapsed');
  const done = (step[last] as number) - (step[first] as number);
  const seconds = (elapsed[last] as number) - (elapsed[first] as number);
  if (!(done > 0) || !(seconds >= 0)) return undefined;
  return (Math.max(0, totalSteps - (step[last] as number)) * seconds) / done;
}
