/** Using what was trained: Try Prompt, and the evaluation of a run. */
import path from 'node:path';
import { commands, ProgressLocation, Uri, window, workspace, type Disposable } from 'vscode';
import { DotaError } from '../protocol/errors';
import { isObject, isString } from '../protocol/guards';
import type { PromptRun, PromptTarget } from '../host/promptTarget';
import type { RunMonitor } from '../host/runMonitor';
import type { RunView } from '../host/runView';
import { evaluationReport } from '../views/evaluationReport';
import type { CommandContext } from './context';
import { commandIds } from './ids';
import { modelOf, pickModel } from './modelActions';
import { chooseRun } from './chooseRun';

const reportScheme = 'dota-evaluation';

export function registerUse(context: CommandContext): void {
  const { register, promptPanel } = context;
  context.extension.subscriptions.push(reportProvider());

  register(commandIds.tryPrompt, async (target) => {
    const run = runOf(context, target);
    if (run !== undefined) {
      promptPanel.open(targetOf(run));
      return;
    }
    const model = modelOf(target);
    if (model !== undefined) promptPanel.open({ name: model.name, model: model.folder, runs: [] });
    else await choosePrompt(context);
  });
  register(commandIds.runEvaluate, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    const chosen = await window.showOpenDialog({
      title: `Evaluate “${run.manifest.name}” on`,
      openLabel: 'Evaluate',
      canSelectFolders: true,
      canSelectFiles: true,
      canSelectMany: true,
    });
    if (chosen === undefined || chosen.length === 0) return;
    await evaluate(
      context,
      run,
      chosen.map((uri) => uri.fsPath),
    );
    await showReport(run);
  });
  register(commandIds.runShowEvaluations, async (target) => {
    const run = await chooseRun(context, target);
    if (run !== undefined) await showReport(run);
  });
}

/** A run beside its base, or a model alone. */
async function choosePrompt(context: CommandContext): Promise<void> {
  const runs = context.monitor.list().filter((run) => run.resumable);
  if (runs.length > 0) {
    const model = { label: 'A model alone…', run: undefined };
    const items = runs.map((run) => ({ label: run.manifest.name, description: run.id, run }));
    const picked = await window.showQuickPick([...items, model], {
      title: 'DoTA: Try Prompt',
      placeHolder: 'Whose answer?',
    });
    if (picked === undefined) return;
    if (picked.run !== undefined) {
      context.promptPanel.open(targetOf(picked.run));
      return;
    }
  }
  const model = await pickModel(context);
  if (model === undefined) return;
  context.promptPanel.open({ name: model.name, model: model.folder, runs: [] });
}

/** A run beside its base. */
function targetOf({ key, manifest }: RunView): PromptTarget {
  return { name: manifest.name, model: key, runs: [{ name: manifest.name, key }] };
}

/** Another run to answer beside those that are there. */
export async function choosePromptRun(monitor: RunMonitor): Promise<PromptRun | undefined> {
  const runs = monitor.list().filter((run) => run.resumable);
  const picked = await window.showQuickPick(
    runs.map(({ key, id, manifest }) => ({ label: manifest.name, description: id, key })),
    { title: 'DoTA: Try Prompt', placeHolder: 'Which run answers as well?' },
  );
  return picked === undefined ? undefined : { name: picked.label, key: picked.key };
}

function runOf({ monitor }: CommandContext, target: unknown): RunView | undefined {
  return isObject(target) && isString(target.key) ? monitor.get(target.key) : undefined;
}

async function evaluate(
  { trainer }: CommandContext,
  run: RunView,
  data: readonly string[],
): Promise<void> {
  await window.withProgress(
    {
      location: ProgressLocation.Notification,
      title: `DoTA: Evaluating ${run.manifest.name}`,
      cancellable: true,
    },
    async (progress, token) => {
      const abort = new AbortController();
      token.onCancellationRequested(() => {
        abort.abort();
      });
      try {
        await trainer.command(['evaluate', run.key, '--compare', '--data', ...data], {
          signal: abort.signal,
          onMessage: (line) => {
            progress.report({ message: line });
          },
        });
      } catch (error) {
        // Sets that are done are kept with the run.
        if (!abort.signal.aborted) throw error;
      }
    },
  );
}

async function showReport(run: RunView): Promise<void> {
  const uri = Uri.from({
    scheme: reportScheme,
    path: `/${path.basename(run.key)} evaluations.md`,
    query: run.key,
  });
  await commands.executeCommand('markdown.showPreview', uri);
}

/** The report as a document that the editor's own Markdown preview shows. */
function reportProvider(): Disposable {
  return workspace.registerTextDocumentContentProvider(reportScheme, {
    provideTextDocumentContent: async ({ query }) => {
      const [{ readEvaluations }, { runFolder }, { readManifest }] = await runFiles();
      const run = runFolder(query);
      const { name } = await readManifest(run);
      const evaluations = await readEvaluations(run);
      if (evaluations.length > 0) return evaluationReport(name, evaluations);
      throw new DotaError('file.missing', 'This run has not been evaluated.', { where: query });
    },
  });
}

/** Loaded when first needed. */
const runFiles = () =>
  Promise.all([
    import('../runs/evaluations'),
    import('../runs/runFolder'),
    import('../runs/manifest'),
  ]);
