/** The Runs view as data: one node a run, newest first; a run's node opens to its figures. */
import { activityWords, refusal, secondsLeft, totalSteps, type RunView } from '../host/runView';
import { formatError } from '../protocol/errors';
import type { RunState } from '../protocol/runFiles';
import { deviceLine, megabytesText } from '../protocol/deviceText';
import { formatCount, formatDuration, formatLoss, formatPercent } from './format';

export interface RunNodeText {
  label: string;
  description: string;
  spoken: string;
  context: string;
  icon: { id: string; color?: string };
  /** Stable across refreshes. */
  id: string;
}

/** Colours that every kind of theme defines to be told from a list's background, at 3 to 1. */
const stateIcons: Record<RunState, { id: string; color?: string }> = {
  created: { id: 'circle-outline' },
  running: { id: 'sync~spin' },
  paused: { id: 'debug-pause' },
  stopped: { id: 'stop-circle' },
  finished: { id: 'pass', color: 'charts.green' },
  failed: { id: 'error', color: 'charts.red' },
  crashed: { id: 'warning', color: 'list.warningForeground' },
};

export function textOfRun(run: RunView): RunNodeText {
  const { manifest, state } = run;
  const step = run.last?.step ?? manifest.progress?.step;
  const total = totalSteps(run);
  const loss = run.last?.loss ?? manifest.last?.trainLoss;
  const validation = manifest.best?.validationLoss ?? manifest.last?.validationLoss;
  const left = state === 'running' && !run.unresponsive ? secondsLeft(run) : undefined;
  const facts = [
    run.unresponsive ? 'not answering' : activityText(run),
    step === undefined ? '' : total === undefined ? `step ${step}` : `${step}/${total}`,
    loss === undefined || !Number.isFinite(loss) ? '' : `loss ${formatLoss(loss)}`,
    state === 'finished' && validation !== undefined ? `val ${formatLoss(validation)}` : '',
    left === undefined ? '' : `${formatDuration(left)} left`,
  ].filter((fact) => fact !== '');
  const flags = ['run', state];
  for (const action of ['stop', 'pause', 'resume', 'resumeSmaller', 'delete'] as const) {
    if (refusal(run, action) === undefined) {
      flags.push(`can${action[0]?.toUpperCase() ?? ''}${action.slice(1)}`);
    }
  }
  if (run.unresponsive && refusal(run, 'forceStop') === undefined) flags.push('canForceStop');
  if (run.observed) flags.push('observed');
  return {
    label: manifest.name,
    description: facts.join(' · '),
    spoken: `Run ${manifest.name}, ${facts.join(', ')}`,
    context: flags.join(' '),
    icon: run.unresponsive ? { id: 'warning', color: 'list.warningForeground' } : stateIcons[state],
    id: run.key,
  };
}

/** The state, or more closely what a running trainer is doing. */
function activityText(run: RunView): string {
  return activityWords(run) ?? run.state;
}

/** Figures of a run, one a line: name and value. */
export function detailsOfRun(run: RunView): [string, string][] {
  const { manifest } = run;
  const lines: [string, string][] = [['Folder', run.key]];
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined) lines.push([name, value]);
  };
  add('Created', manifest.createdAt);
  add('Device', manifest.device === undefined ? undefined : deviceLine(manifest.device));
  add(
    'Trainable',
    manifest.trainable === undefined
      ? undefined
      : `${formatCount(manifest.trainable.parameters)} (${formatPercent(manifest.trainable.fraction)})`,
  );
  add('Error of 4-bit weights at step 0', fourBitError(manifest.quantization));
  add(
    'Best validation loss',
    manifest.best === undefined
      ? undefined
      : `${formatLoss(manifest.best.validationLoss)} at step ${manifest.best.step}`,
  );
  add(
    'Speed',
    run.last === undefined
      ? undefined
      : `${formatCount(Math.round(run.last.tokensPerSecond))} tokens/s`,
  );
  add(
    'Peak memory',
    manifest.peakRssMb === undefined ? undefined : megabytesText(manifest.peakRssMb),
  );
  add(
    'Peak GPU memory',
    manifest.peakDeviceMb === undefined ? undefined : megabytesText(manifest.peakDeviceMb),
  );
  add('Micro-batch', manifest.microBatch === undefined ? undefined : `${manifest.microBatch}`);
  add('Error', manifest.error === undefined ? undefined : formatError(manifest.error));
  add('Control', run.controlDisabledReason);
  return lines;
}

/** Beside it what NF4 of the weights themselves, without an adapter, would lose. */
function fourBitError(measured: RunView['manifest']['quantization']): string | undefined {
  if (measured === undefined) return undefined;
  const { relativeError, plainRelativeError } = measured;
  return `${formatPercent(relativeError)} of their norm (NF4 of the weights themselves: ${formatPercent(plainRelativeError)})`;
}

/** The one status bar item: text and tooltip, or undefined while nothing runs. */
export function statusOf(
  runs: readonly RunView[],
): { text: string; tooltip: string; failed: boolean } | undefined {
  const live = runs.filter((run) => run.live);
  const [first] = live;
  if (first === undefined) return undefined;
  const icon = first.unresponsive
    ? 'warning'
    : first.state === 'paused'
      ? 'debug-pause'
      : 'sync~spin';
  const { progress } = first.manifest;
  const step = first.last?.step ?? progress?.step;
  const parts = [
    first.unresponsive ? 'not answering' : '',
    step === undefined ? activityText(first) : `${step}/${totalSteps(first) ?? '?'}`,
    first.last === undefined ? '' : `loss ${first.last.loss.toFixed(2)}`,
    live.length > 1 ? `+${live.length - 1}` : '',
  ].filter((part) => part !== '');
  return {
    text: `$(${icon}) DoTA ${parts.join(' · ')}`,
    tooltip: live.map((run) => `${run.manifest.name}: ${textOfRun(run).description}`).join('\n'),
    failed: first.unresponsive,
  };
}
