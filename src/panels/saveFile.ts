/** Saving what a panel exports, with the editor's dialog. */
import path from 'node:path';
import { Uri, window, workspace } from 'vscode';

/** @param suggested file name from a panel; only its last part is used */
export async function saveFile(suggested: string, bytes: Uint8Array): Promise<void> {
  const name = path.basename(suggested).replace(/[^\w .()+-]+/g, '_') || 'export';
  const folder = workspace.workspaceFolders?.[0]?.uri;
  const target = await window.showSaveDialog(
    folder === undefined ? {} : { defaultUri: Uri.joinPath(folder, name) },
  );
  if (target !== undefined) await workspace.fs.writeFile(target, bytes);
}
