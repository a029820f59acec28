/** DoTA: Doctor. What this machine has for training, and what to do about what it lacks. */
import { ProgressLocation, window } from 'vscode';
import { doctorReport, type DoctorReport } from '../host/doctorReport';
import { settings } from '../host/settings';
import type { Trainer } from '../host/trainer';
import { DotaError } from '../protocol/errors';
import type { CommandContext } from './context';
import { commandIds } from './ids';
import { MarkdownReports } from './markdownReports';

const openReport = 'Open Report';

export function registerDoctor({ extension, register, trainer, ui }: CommandContext): void {
  const reports = new MarkdownReports('dota-doctor', extension);
  register(commandIds.doctor, async () => {
    const node = await trainer.node(true);
    const nodeFrom = settings.nodePath() === '' ? node.source : 'dota.nodePath';
    const report = await window.withProgress(
      {
        location: ProgressLocation.Notification,
        title: 'DoTA: Looking at this machine; a GPU may take a minute to answer',
        cancellable: true,
      },
      (_progress, token) => {
        const abort = new AbortController();
        token.onCancellationRequested(() => {
          abort.abort();
        });
        return askDoctor(trainer, nodeFrom, abort.signal);
      },
    );
    ui.log.info(`Doctor:\n${report.markdown}`);
    const { problem, summary } = report;
    const chosen =
      problem === undefined
        ? await window.showInformationMessage(`DoTA: ${summary}`, openReport)
        : await window.showErrorMessage(`DoTA: ${summary} ${problem.next ?? ''}`, openReport);
    if (chosen === openReport) await reports.show('Doctor', report.markdown);
  });
  register(commandIds.showLog, () => {
    ui.log.show();
  });
}

/** @throws DotaError where there is no report, for whatever reason */
async function askDoctor(
  trainer: Trainer,
  nodeFrom: string,
  signal: AbortSignal,
): Promise<DoctorReport> {
  let printed = '';
  try {
    const { json } = await trainer.command(['doctor'], {
      signal,
      onLine: (line) => {
        printed = line;
      },
    });
    return doctorReport(json, nodeFrom);
  } catch (error) {
    // The report comes with the error where nothing can be trained; a problem of its own has none.
    if (error instanceof DotaError && error.code === 'device.unavailable' && printed !== '') {
      return doctorReport(JSON.parse(printed), nodeFrom);
    }
    throw error;
  }
}
