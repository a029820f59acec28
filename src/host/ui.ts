/** Errors as the user meets them: one message, what to do, and the log a click away. */
import { commands, window, type LogOutputChannel } from 'vscode';
import { settingKeys } from '../commands/ids';
import { formatError, serializeError, type SerializedError } from '../protocol/errors';

export interface Ui {
  readonly log: LogOutputChannel;
  /** Shows an error once, with its next step; logs it with its stack. */
  showError(error: unknown): void;
}

export function createUi(log: LogOutputChannel): Ui {
  return {
    log,
    showError(error) {
      const serialized = serializeError(error);
      log.error(formatError(serialized));
      if (serialized.code === 'internal' && error instanceof Error) log.error(error);
      void offer(serialized, log);
    },
  };
}

async function offer(error: SerializedError, log: LogOutputChannel): Promise<void> {
  const showLog = 'Show Log';
  const openSetting = 'Open Setting';
  const actions = error.code === 'node.missing' ? [openSetting, showLog] : [showLog];
  const chosen = await window.showErrorMessage(`DoTA: ${formatError(error)}`, ...actions);
  if (chosen === showLog) log.show();
  if (chosen === openSetting) {
    await commands.executeCommand('workbench.action.openSettings', settingKeys.nodePath);
  }
}
