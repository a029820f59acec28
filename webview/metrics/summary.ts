/** The charts in words, for those who can't see them. */
import type { RunSummary } from '../../src/protocol/metricsPanel';
import type { RunState } from '../../src/protocol/runFiles';
import { formatDuration, formatInteger, formatNumber } from '../shared/format';
import { secondsLeft, type RunData } from './runData';

const stateWords: Readonly<Record<RunState, string>> = {
  created: 'is starting',
  running: 'is running',
  paused: 'is paused',
  stopped: 'is stopped',
  finished: 'has finished',
  failed: 'has failed',
  crashed: 'has crashed',
};

/** A paragraph on one run. */
export function summarizeRun(run: RunSummary, data: RunData | undefined): string {
  const parts: string[] = [];
  const progress = run.progress;
  parts.push(
    progress === undefined
      ? `Run ${run.name} ${stateWords[run.state]}.`
      : `Run ${run.name} ${stateWords[run.state]} at step ${formatInteger(progress.step)} of ${formatInteger(progress.totalSteps)}.`,
  );
  if (data === undefined || data.steps.length === 0) {
    parts.push('No step has been recorded yet.');
    return parts.join(' ');
  }
  const { steps, evals } = data;
  const loss = steps.column('loss');
  const step = steps.column('step');
  const first = loss[0] as number;
  const last = loss[steps.length - 1] as number;
  const { best, notFinite } = data.trainLoss;
  const verb = last < first ? 'fell' : last > first ? 'rose' : 'stayed';
  parts.push(
    `Training loss ${verb} from ${formatNumber(first)} to ${formatNumber(last)} nats per token` +
      (best === undefined
        ? '.'
        : `, lowest ${formatNumber(best.value)} at step ${formatInteger(step[best.index])}.`),
  );
  if (evals.length > 0) {
    const evalLoss = evals.column('loss');
    const evalBest = data.validationLoss.best;
    parts.push(
      `Validation loss is ${formatNumber(evalLoss[evals.length - 1])} after ${evals.length} ${evals.length === 1 ? 'evaluation' : 'evaluations'}` +
        (evalBest === undefined
          ? '.'
          : `, best ${formatNumber(evalBest.value)} at step ${formatInteger(evals.column('step')[evalBest.index])}.`),
    );
  }
  if (notFinite > 0) parts.push(`${formatInteger(notFinite)} values of the loss are not finite.`);
  if (run.state === 'running' && run.unresponsive !== true && progress !== undefined) {
    const left = secondsLeft(data, progress.totalSteps);
    if (left !== undefined) parts.push(`About ${formatDuration(left)} left.`);
  }
  return parts.join(' ');
}
