/** DoTA: Profile Step. Where the time and the memory of a configuration's training step go. */
import path from 'node:path';
import { ProgressLocation, Uri, window, workspace } from 'vscode';
import { profileMarkdown } from '../host/profileReport';
import { activeConfig } from './activeConfig';
import type { CommandContext } from './context';
import { commandIds } from './ids';
import { MarkdownReports } from './markdownReports';

export function registerProfile({ extension, register, trainer }: CommandContext): void {
  const reports = new MarkdownReports('dota-profile', extension);
  register(commandIds.profileStep, async (given) => {
    const config = given instanceof Uri ? given : await chooseConfig();
    if (!config) return;
    const report = await window.withProgress(
      {
        location: ProgressLocation.Notification,
        title: 'DoTA: Profiling a few steps',
        cancellable: true,
      },
      async (_progress, token) => {
        const abort = new AbortController();
        token.onCancellationRequested(() => {
          abort.abort();
        });
        const { json } = await trainer.command(['profile', config.fsPath], {
          cwd: path.dirname(config.fsPath),
          signal: abort.signal,
        });
        return profileMarkdown(path.basename(config.fsPath), json);
      },
    );
    await reports.show(`${path.basename(config.fsPath, '.dota.json')} profile`, report);
  });
}

/** The configuration in view, the only one of the workspace, or the one picked. */
async function chooseConfig(): Promise<Uri | undefined> {
  const active = activeConfig();
  if (active !== undefined) return active;
  const found = await workspace.findFiles('**/*.dota.json', '**/{node_modules,.dota}/**', 100);
  if (found.length === 0) {
    void window.showInformationMessage(
      'DoTA: There is no *.dota.json to profile. "DoTA: Fine-tune" writes one.',
    );
    return undefined;
  }
  if (found.length === 1) return found[0];
  const picked = await window.showQuickPick(
    found.map((uri) => ({ label: workspace.asRelativePath(uri), uri })),
    { title: 'DoTA: Profile Step', placeHolder: 'Which configuration?' },
  );
  return picked?.uri;
}
