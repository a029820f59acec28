/** The commands on a run: from its inline buttons, its menu, the panel, or the palette. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { commands, env, Uri, window, workspace } from 'vscode';
import { refusal } from '../host/runView';
import { DotaError } from '../protocol/errors';
import { smallerMicroBatch } from '../protocol/microBatch';
import { formatBytes } from '../views/format';
import { chooseRun } from './chooseRun';
import type { CommandContext } from './context';
import { commandIds } from './ids';
import { startRun } from './startRun';

export function registerRunActions(context: CommandContext): void {
  const { register, monitor } = context;

  register(commandIds.runStop, async (target) => {
    const run = await chooseRun(context, target, 'stop');
    if (run !== undefined) await monitor.command(run.key, 'stop');
  });
  register(commandIds.runPause, async (target) => {
    const run = await chooseRun(context, target, 'pause');
    if (run !== undefined) await monitor.command(run.key, 'pause');
  });
  register(commandIds.runResume, async (target) => {
    const run = await chooseRun(context, target, 'resume');
    if (run === undefined) return;
    if (run.live) await monitor.command(run.key, 'resume');
    else await startRun(context, ['train', '--resume', run.key], path.dirname(run.key));
  });
  register(commandIds.runResumeSmaller, async (target) => {
    const run = await chooseRun(context, target, 'resumeSmaller');
    const size = run && smallerMicroBatch(run.manifest);
    if (run === undefined || size === undefined) return;
    const args = ['train', '--resume', run.key, '--micro-batch', String(size)];
    await startRun(context, args, path.dirname(run.key));
  });
  register(commandIds.runForceStop, async (target) => {
    const run = await chooseRun(context, target, 'forceStop');
    if (run === undefined) return;
    const force = 'Force Stop';
    const chosen = await window.showWarningMessage(
      `Force “${run.manifest.name}” to stop?`,
      {
        modal: true,
        detail:
          'The process is ended at once. Steps since the last checkpoint are lost; the run can be resumed from there.',
      },
      force,
    );
    if (chosen === force) await monitor.forceStop(run.key);
  });

  register(commandIds.runTakeControl, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    await context.claims.take(run.key);
    await monitor.refresh();
  });

  register(commandIds.runOpenPanel, async (target) => {
    const run = await chooseRun(context, target ?? context.runsView.selection);
    if (run !== undefined) context.metricsPanel.open([run.key]);
  });
  register(commandIds.openMetrics, () => {
    const live = monitor.list().filter((run) => run.live);
    const newest = [...monitor.list()].sort((a, b) =>
      b.manifest.createdAt.localeCompare(a.manifest.createdAt),
    );
    context.metricsPanel.open((live.length > 0 ? live : newest.slice(0, 1)).map((r) => r.key));
  });
  register(commandIds.runReveal, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    // On a remote machine there is no file manager; the workbench's own explorer shows the folder.
    const inWorkspace = workspace.getWorkspaceFolder(Uri.file(run.key)) !== undefined;
    await commands.executeCommand(
      env.remoteName === undefined && !inWorkspace ? 'revealFileInOS' : 'revealInExplorer',
      Uri.file(run.key),
    );
  });
  register(commandIds.runShowLog, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    const file = path.join(run.key, 'log.txt');
    const { isOwnFile } = await import('../runs/noFollow');
    if (!(await isOwnFile(file))) {
      throw new DotaError('file.missing', 'This run has no log yet.', { where: file });
    }
    await window.showTextDocument(Uri.file(file), { preview: true });
  });
  register(commandIds.runDuplicate, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    const directory =
      workspace.workspaceFolders?.[0]?.uri.fsPath ?? context.extension.globalStorageUri.fsPath;
    const { configFromRun, configText, freeConfigName } = await import('./configFile');
    const config = configFromRun(run.manifest.config, run.manifest.configDirectory, directory);
    const name = freeConfigName(run.manifest.name, new Set(await readdir(directory)));
    const file = Uri.file(path.join(directory, name));
    await workspace.fs.writeFile(file, Buffer.from(configText(config)));
    await window.showTextDocument(file);
  });
  register(commandIds.runRename, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    const name = await window.showInputBox({
      title: 'DoTA: Rename Run',
      value: run.manifest.name,
      prompt: 'The name shown. The folder keeps its own.',
      validateInput: (text) =>
        text.trim() === '' || text.length > 120 ? 'Between 1 and 120 characters' : undefined,
    });
    if (name === undefined) return;
    const [{ renameRun }, { runFolder }] = await runFiles();
    await renameRun(runFolder(run.key), name.trim());
    await monitor.refresh();
  });
  register(commandIds.runNotes, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    const file = Uri.file(path.join(run.key, 'notes.md'));
    const { isOwnFile } = await import('../runs/noFollow');
    if (!(await isOwnFile(file.fsPath)))
      await workspace.fs.writeFile(file, Buffer.from(`# ${run.manifest.name}\n\n`));
    await window.showTextDocument(file);
  });
  register(commandIds.runDelete, async (target) => {
    const run = await chooseRun(context, target, 'delete');
    if (run === undefined) return;
    const [{ deleteRun, runSize }, { runFolder }] = await runFiles();
    const size = formatBytes(await runSize(runFolder(run.key)));
    const remove = `Delete and Free ${size}`;
    const chosen = await window.showWarningMessage(
      `Delete “${run.manifest.name}”?`,
      {
        modal: true,
        detail: `The folder ${run.key}, its checkpoints and its journal are removed for good (${size}).`,
      },
      remove,
    );
    if (chosen !== remove) return;
    // The run may have been resumed while the question stood.
    const reason = refusal(monitor.get(run.key) ?? run, 'delete');
    if (reason !== undefined) throw new DotaError('run.state', reason);
    await deleteRun(path.dirname(run.key), run.id);
    await monitor.refresh();
    window.setStatusBarMessage(`DoTA: ${size} freed`, 5000);
  });
  register(commandIds.refreshRuns, () => monitor.refresh());
}

/** Loaded when first needed: checking manifests is no part of activation. */
const runFiles = () => Promise.all([import('../runs/runStore'), import('../runs/runFolder')]);
