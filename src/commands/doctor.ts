/** DoTA: Doctor. What this machine has for training, and what to do about what it lacks. */
import { ProgressLocation, window } from 'vscode';
import { doctorReport } from '../host/doctorReport';
import { settings } from '../host/settings';
import type { CommandContext } from './context';
import { commandIds } from './ids';

export function registerDoctor(context: CommandContext): void {
  const { register, trainer, ui } = context;
  register(commandIds.doctor, async () => {
    const node = await trainer.node(true);
    const lines: string[] = [];
    await window.withProgress(
      {
        location: ProgressLocation.Notification,
        title: 'DoTA: Looking at this machine',
        cancellable: true,
      },
      async (_progress, token) => {
        const abort = new AbortController();
        token.onCancellationRequested(() => {
          abort.abort();
        });
        const { json } = await trainer.command(['doctor'], {
          signal: abort.signal,
          onMessage: (line) => lines.push(line),
        });
        ui.log.info(['Doctor:', ...doctorReport(json)].join('\n'));
        ui.log.debug(`Doctor: ${JSON.stringify(json, null, 2)}`);
      },
    );
    const showLog = 'Show Report';
    const where = settings.nodePath() === '' ? node.source : 'dota.nodePath';
    const chosen = await window.showInformationMessage(
      `DoTA: Node.js ${node.version} (${where}) can train. The report is in the log.`,
      showLog,
    );
    if (chosen === showLog) ui.log.show();
  });
  register(commandIds.showLog, () => {
    ui.log.show();
  });
}
