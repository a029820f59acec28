/** Writes ranks found in the explorer into a configuration. */
import path from 'node:path';
import type { Uri } from 'vscode';
import { Range, window, workspace, WorkspaceEdit } from 'vscode';
import type { ExplorerViewMessage } from '../protocol/explorerPanel';
import { DotaError } from '../protocol/errors';
import { mergeRanks } from './mergeRanks';

type UseRanks = Extract<ExplorerViewMessage, { type: 'useRanks' }>;

/** Asks which configuration, changes it, and shows the change unsaved. */
export async function useRanks(message: UseRanks): Promise<void> {
  const files = await workspace.findFiles('**/*.dota.json', '**/{node_modules,.dota}/**', 50);
  const picked = await window.showQuickPick(
    files.map((uri) => ({
      label: path.basename(uri.fsPath),
      description: workspace.asRelativePath(uri),
      uri,
    })),
    { title: 'DoTA: Use Ranks', placeHolder: 'Which configuration takes these ranks?' },
  );
  if (picked === undefined) {
    if (files.length > 0) return;
    throw new DotaError('file.missing', 'There is no *.dota.json in this workspace.', {
      next: 'Write one with DoTA: Fine-tune, choosing “Look at it first”.',
    });
  }
  await apply(picked.uri, message);
}

async function apply(uri: Uri, message: UseRanks): Promise<void> {
  const document = await workspace.openTextDocument(uri);
  const text = mergeRanks(document.getText(), uri.fsPath, message);
  const edit = new WorkspaceEdit();
  const whole = new Range(document.positionAt(0), document.positionAt(document.getText().length));
  edit.replace(uri, whole, text);
  await workspace.applyEdit(edit);
  await window.showTextDocument(document);
}
