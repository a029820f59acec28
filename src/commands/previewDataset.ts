/** DoTA: Preview Dataset, from a configuration, a dataset file, or the palette. */
import { Uri, window, workspace } from 'vscode';
import { DotaError } from '../protocol/errors';
import type { PreviewSource } from '../protocol/previewPanel';
import { activeConfig } from './activeConfig';
import { isConfigFile } from './configInView';
import type { CommandContext } from './context';
import { commandIds } from './ids';

export function registerPreviewDataset(context: CommandContext): void {
  const { register } = context;
  register(commandIds.previewDataset, async (target) => {
    const file = target instanceof Uri ? target : (activeConfig() ?? (await pickFile()));
    const source = file === undefined ? undefined : await sourceOf(file, context);
    if (source !== undefined) context.previewPanel.open(source);
  });
}

/** A dataset alone is shown with a model's tokenizer: the only one, or the one chosen. */
async function sourceOf(file: Uri, { models }: CommandContext): Promise<PreviewSource | undefined> {
  if (isConfigFile(file)) return { config: file.fsPath };
  const usable = (await models.read()).filter((model) => model.problem === undefined);
  const [first, ...others] = usable;
  if (first === undefined) {
    throw new DotaError('file.missing', 'No model is listed, so there is no tokenizer to use.', {
      next: 'Add a model folder first.',
    });
  }
  if (others.length === 0) return { data: file.fsPath, model: first.folder };
  const picked = await window.showQuickPick(
    usable.map((model) => ({ label: model.name, description: model.folder, model })),
    { title: 'DoTA: Whose Tokenizer?' },
  );
  return picked && { data: file.fsPath, model: picked.model.folder };
}

/** Configurations of the workspace first; any other file by the dialog. */
async function pickFile(): Promise<Uri | undefined> {
  const configs = await workspace.findFiles('**/*.dota.json', '**/{node_modules,.dota}/**', 50);
  const browse = 'Choose a Dataset File…';
  if (configs.length > 0) {
    const items = configs.map((uri) => ({ label: workspace.asRelativePath(uri), uri }));
    const picked = await window.showQuickPick([...items, { label: browse, uri: undefined }], {
      title: 'DoTA: Preview Dataset',
      placeHolder: 'A configuration, whose data and options are shown',
    });
    if (picked === undefined || picked.uri !== undefined) return picked?.uri;
  }
  const [chosen] =
    (await window.showOpenDialog({
      title: 'Dataset to Preview',
      openLabel: 'Preview',
      filters: { Datasets: ['json', 'jsonl', 'csv', 'tsv', 'parquet', 'txt', 'md'] },
    })) ?? [];
  return chosen;
}
