/** One notification when a run ends, with what can be done next. */
import { commands, window, type Disposable, type MessageItem } from 'vscode';
import { commandIds } from '../commands/ids';
import { formatError } from '../protocol/errors';
import { formatLoss } from '../views/format';
import type { RunMonitor } from './runMonitor';
import type { RunView } from './runView';
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
        const actions = run.resumable ? [resume, showLog] : [showLog];
        return window.showErrorMessage(`DoTA: the trainer of “${name}” is gone.`, ...actions);
      }
      // Somebody asked for it: nothing to announce.
      case 'stopped':
      case 'paused':
      case 'created':
      case 'running':
        return Promise.resolve(undefined);
    }
  })();
  if (chosen !== undefined) await commands.executeCommand(chosen.command, { key: run.key });
}
