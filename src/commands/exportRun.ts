/** "Export…" on a run: which form, where to, progress, and the result a click away. */
import path from 'node:path';
import { commands, env, ProgressLocation, Uri, window, type QuickPickItem } from 'vscode';
import type { RunView } from '../host/runView';
import { isNumber, isObject } from '../protocol/guards';
import { chooseRun } from './chooseRun';
import type { CommandContext } from './context';
import { exportLoss } from './exportLoss';
import { freeName } from './exportName';
import { commandIds } from './ids';

interface Form extends QuickPickItem {
  /** Arguments of `dota export`. */
  args: readonly string[];
  /** Behind the run's name. */
  suffix: string;
  /** Needs an adapter, which full fine-tuning has not. */
  ofAdapter: boolean;
}

const forms: readonly Form[] = [
  {
    label: 'Merged model',
    description: 'Hugging Face folder',
    detail: 'The whole model with the change in its weights, for transformers and everything else.',
    args: ['--to', 'merged'],
    suffix: '-merged',
    ofAdapter: false,
  },
  {
    label: 'Adapter',
    description: 'what was trained, exactly',
    detail: 'Small; load_adapter.py beside it adds it to the base model in PyTorch.',
    args: ['--to', 'adapter'],
    suffix: '-adapter',
    ofAdapter: true,
  },
  {
    label: 'LoRA (PEFT)',
    description: 'rank by 99.9 % of each change',
    detail: 'Converted to PEFT’s own format; the log has what each module lost.',
    args: ['--to', 'lora', '--energy', '0.999'],
    suffix: '-lora',
    ofAdapter: true,
  },
  {
    label: 'GGUF, F16',
    description: 'one file for llama.cpp, Ollama, LM Studio',
    args: ['--to', 'gguf', '--gguf-type', 'f16'],
    suffix: '-f16.gguf',
    ofAdapter: false,
  },
  {
    label: 'GGUF, Q8_0',
    description: 'half the size, weights in 8 bits',
    args: ['--to', 'gguf', '--gguf-type', 'q8_0'],
    suffix: '-q8_0.gguf',
    ofAdapter: false,
  },
  {
    label: 'ONNX',
    description: 'folder for transformers.js, in Node and the browser',
    args: ['--to', 'onnx'],
    suffix: '-onnx',
    ofAdapter: false,
  },
];

export function registerExportRun(context: CommandContext): void {
  context.register(commandIds.runExport, async (target) => {
    const run = await chooseRun(context, target);
    if (run === undefined) return;
    const title = `DoTA: Export “${run.manifest.name}”`;
    const { config } = run.manifest;
    const full = isObject(config) && config.method === 'full';
    const form = await window.showQuickPick(
      forms.filter(({ ofAdapter }) => !(full && ofAdapter)),
      { title, placeHolder: 'Export as', matchOnDescription: true },
    );
    if (form === undefined) return;
    const [folder] =
      (await window.showOpenDialog({
        canSelectFolders: true,
        canSelectFiles: false,
        openLabel: 'Export Here',
        title: `${title}: Folder to Export Into`,
        defaultUri: Uri.file(path.resolve(run.key, '../../..')),
      })) ?? [];
    if (folder === undefined) return;
    const name = await freeName(folder.fsPath, run.manifest.name, form.suffix);
    await exportTo(context, run, form, path.join(folder.fsPath, name));
  });
}

async function exportTo(
  { trainer }: CommandContext,
  run: RunView,
  form: Form,
  out: string,
): Promise<void> {
  const title = `DoTA: Exporting “${run.manifest.name}” (${form.label})`;
  const exported = await window.withProgress(
    { location: ProgressLocation.Notification, title, cancellable: true },
    async (progress, token) => {
      const abort = new AbortController();
      token.onCancellationRequested(() => {
        abort.abort();
      });
      let shown = 0;
      const onLine = (line: string): void => {
        const percent = percentOf(line);
        if (percent === undefined) return;
        progress.report({ increment: percent - shown, message: `${percent} %` });
        shown = percent;
      };
      const args = ['export', run.key, ...form.args, '--out', out, '--stream'];
      try {
        const { json } = await trainer.command(args, {
          signal: abort.signal,
          onLine,
        });
        return { json };
      } catch (error) {
        if (abort.signal.aborted) return undefined;
        throw error;
      }
    },
  );
  if (exported === undefined) return;
  const reveal = 'Reveal';
  const text = `DoTA: exported to ${path.basename(out)}.${exportLoss(exported.json)}`;
  if ((await window.showInformationMessage(text, reveal)) !== reveal) return;
  await commands.executeCommand(
    env.remoteName === undefined ? 'revealFileInOS' : 'revealInExplorer',
    Uri.file(out),
  );
}

function percentOf(line: string): number | undefined {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(event) || event.type !== 'progress' || !isNumber(event.fraction)) return undefined;
  return Math.round(100 * event.fraction);
}
