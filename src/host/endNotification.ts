/** One notification when a run ends, with what can be done next. */
import { commands, window, type Disposable, type MessageItem } from 'vscode';
import { commandIds } from '../commands/ids';
import { formatError, type SerializedError } from '../protocol/errors';
import { smallerMicroBatch } from '../protocol/microBatch';
import { formatLoss } from '../views/format';
import type { RunMonitor } from './runMonitor';
import { lackedMemory, refusal, type RunView } from './runView';
import { settings } from './settings';
import type { Ui } from './ui';

export function announceEnds(monitor: RunMonitor, ui: Ui): Disposable {
  return monitor.onDidEnd((run) => {
    ui.log.info(`${run.manifest.name}: ${run.state}`);
    if (settings.notifyOnEnd()) void announce(run);
  });
}

interface Action extends MessageItem {
  command: string;
}

const metrics: Action = { title: 'Open Metrics', command: commandIds.runOpenPanel };
const showLog: Action = { title: 'Show Log', command: commandIds.runShowLog };
const resume: Action = { title: 'Resume', command: commandIds.runResume };

function why(name: string, error: SerializedError): string {
  return `“${name}” has stopped. ${formatError(error)}`;
}

/** After memory ran out the same again would only end the same. */
function afterStop(run: RunView): Action[] {
  if (refusal(run, 'resumeSmaller') !== undefined) return [resume];
  const size = smallerMicroBatch(run.manifest);
  return [{ title: `Resume with Micro-batch ${size ?? 1}`, command: commandIds.runResumeSmaller }];
}

async function announce(run: RunView): Promise<void> {
  const { name, best, error } = run.manifest;
  const chosen = await ((): Thenable<Action | undefined> => {
    switch (run.state) {
      case 'finished': {
        const loss =
          best === undefined ? '' : ` Best validation loss ${formatLoss(best.validationLoss)}.`;
        return window.showInformationMessage(`DoTA: “${name}” is finished.${loss}`, metrics);
      }
      case 'failed': {
        const why = error === undefined ? '' : ` ${formatError(error)}`;
        return window.showErrorMessage(`DoTA: “${name}” failed.${why}`, showLog, metrics);
      }
      case 'crashed': {
        const actions = run.resumable ? [...afterStop(run), showLog] : [showLog];
        const maybe = lackedMemory(run) ? ' It may have been ended for want of memory.' : '';
        const what =
          error === undefined ? `the trainer of “${name}” is gone.${maybe}` : why(name, error);
        return window.showErrorMessage(`DoTA: ${what}`, ...actions);
      }
      case 'stopped': {
        // Without an error somebody asked for it: nothing to announce.
        if (error === undefined) return Promise.resolve(undefined);
        return window.showErrorMessage(`DoTA: ${why(name, error)}`, ...afterStop(run), showLog);
      }
      case 'paused':
      case 'created':
      case 'running':
        return Promise.resolve(undefined);
    }
  })();
  if (chosen !== undefined) await commands.executeCommand(chosen.command, { key: run.key });
}
