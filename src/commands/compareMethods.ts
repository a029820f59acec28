/** **DoTA: Compare Methods**: runs that are there, a study from a file, or a new study of the sample. */
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ProgressLocation, Uri, window, workspace, type QuickPickItem } from 'vscode';
import { DotaError } from '../protocol/errors';
import { isNumber, isObject, isString } from '../protocol/guards';
import type { ComparePanel } from '../panels/comparePanel';
import type { ComparisonSource } from '../panels/comparisonSource';
import type { CommandContext } from './context';
import { commandIds } from './ids';
import { studyFromChoice, studyMethods } from './studyFile';

const studyPattern = '**/*.dota-study.json';

export function registerCompareMethods(context: CommandContext, panel: ComparePanel): void {
  context.register(commandIds.compareMethods, async (target: unknown) => {
    const file = target instanceof Uri ? target.fsPath : undefined;
    if (file !== undefined) return startStudy(context, panel, file);
    const choice = await choose();
    if (choice === undefined) return;
    switch (choice.kind) {
      case 'runs':
        return compareRuns(context, panel);
      case 'new':
        return newStudy(context, panel);
      case 'file':
        return startStudy(context, panel, choice.file);
    }
  });
}

type Choice = { kind: 'runs' } | { kind: 'new' } | { kind: 'file'; file: string };

async function choose(): Promise<Choice | undefined> {
  const studies = await workspace.findFiles(studyPattern, '**/{node_modules,.dota}/**', 20);
  const items: (QuickPickItem & { choice: Choice })[] = [
    {
      label: '$(list-selection) Compare runs',
      detail: 'Choose among the runs of this window',
      choice: { kind: 'runs' },
    },
    {
      label: '$(beaker) New study',
      detail: 'Methods x seeds at one parameter budget, on the sample’s task',
      choice: { kind: 'new' },
    },
    ...studies.map((uri) => ({
      label: `$(play) ${workspace.asRelativePath(uri)}`,
      detail: 'Start this study, or go on with it',
      choice: { kind: 'file' as const, file: uri.fsPath },
    })),
  ];
  const picked = await window.showQuickPick(items, {
    title: 'DoTA: Compare Methods',
    placeHolder: 'What is to be compared?',
  });
  return picked?.choice;
}

async function compareRuns(context: CommandContext, panel: ComparePanel): Promise<void> {
  await context.monitor.ready();
  const runs = context.monitor.list();
  if (runs.length < 2) {
    throw new DotaError('usage', 'A comparison needs at least two runs.', {
      next: 'Start some with DoTA: Fine-tune, or choose a new study.',
    });
  }
  const picked = await window.showQuickPick(
    runs.map(({ key, manifest, state }) => ({
      label: manifest.name,
      description: state,
      detail: path.basename(key),
      key,
    })),
    { title: 'DoTA: Compare Methods', placeHolder: 'Runs to compare', canPickMany: true },
  );
  if (picked === undefined || picked.length === 0) return;
  await panel.open({ kind: 'runs', folders: picked.map(({ key }) => key) });
}

async function newStudy(context: CommandContext, panel: ComparePanel): Promise<void> {
  const methods = await window.showQuickPick(
    Object.keys(studyMethods).map((label) => ({ label, picked: true })),
    { title: 'DoTA: New Study', placeHolder: 'Methods to compare', canPickMany: true },
  );
  if (methods === undefined || methods.length === 0) return;
  const seeds = await window.showQuickPick(['1', '2', '3', '5'], {
    title: 'DoTA: New Study',
    placeHolder: 'Seeds of each method (an order can be decided from 3 on)',
  });
  const folder = workspace.workspaceFolders?.[0]?.uri.fsPath;
  if (seeds === undefined) return;
  if (folder === undefined) {
    throw new DotaError('usage', 'A study needs a folder to live in.', {
      next: 'Open a folder first.',
    });
  }
  const data = path.join(folder, '.dota', 'sample');
  await mkdir(data, { recursive: true });
  const source = path.join(context.extension.extensionPath, 'media', 'sample', 'data');
  for (const split of ['train', 'validation', 'test']) {
    const name = `arithmetic.${split}.json`;
    await copyFile(path.join(source, name), path.join(data, name));
  }
  const study = studyFromChoice(
    methods.map(({ label }) => label),
    Number(seeds),
  );
  const taken = new Set(await readdir(folder));
  let name = 'sample.dota-study.json';
  for (let n = 2; taken.has(name); n++) name = `sample-${n}.dota-study.json`;
  const file = path.join(folder, name);
  await writeFile(file, `${JSON.stringify(study, null, 2)}\n`, { flag: 'wx' });
  await window.showTextDocument(Uri.file(file), { preview: false });
  await startStudy(context, panel, file);
}

/** Runs the study in the trainer until its end or a cancel; what is done stays done. */
async function startStudy(
  context: CommandContext,
  panel: ComparePanel,
  file: string,
): Promise<void> {
  const source: ComparisonSource = { kind: 'study', file };
  await panel.open(source);
  const { parseStudy } = await import('../study/parseStudy');
  const { name } = parseStudy(await readFile(file, 'utf8'), file);
  await window.withProgress(
    { location: ProgressLocation.Notification, title: `DoTA: ${name}`, cancellable: true },
    async (progress, token) => {
      const abort = new AbortController();
      token.onCancellationRequested(() => {
        abort.abort();
      });
      let before = 0;
      try {
        await context.trainer.command(['study', file, '--stream'], {
          signal: abort.signal,
          onLine: (line) => {
            const event = parseProgress(line);
            if (event === undefined) return;
            const share = (100 * event.done) / Math.max(1, event.total);
            progress.report({ message: event.now, increment: share - before });
            before = share;
            panel.showProgress(source, event.text, event.done, event.total);
            void panel.refresh(source).catch((error: unknown) => {
              context.ui.log.error(`Compare panel: ${String(error)}`);
            });
          },
        });
      } catch (error) {
        const stopped = error instanceof DotaError && error.code === 'run.stopped';
        if (!stopped) throw error;
        void window.showInformationMessage(
          'The study was stopped with a checkpoint. Start it again to go on.',
        );
      } finally {
        panel.endProgress(source);
      }
    },
  );
  await panel.refresh(source);
}

/** A line of `--stream`. */
export function parseProgress(
  line: string,
): { done: number; total: number; now: string; text: string } | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch {
    return undefined;
  }
  const progress = isObject(raw) && isObject(raw.progress) ? raw.progress : {};
  const { done, total, now, secondsLeft } = progress;
  if (!isNumber(done) || !isNumber(total) || !isString(now)) return undefined;
  const minutes = isNumber(secondsLeft) ? Math.ceil(secondsLeft / 60) : undefined;
  const left = minutes === undefined ? '' : `, about ${minutes} min left`;
  return { done, total, now, text: `Running: ${now}${left}` };
}
