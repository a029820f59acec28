/** Keeps what the extension writes beside the user's files out of their repository. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

/**
 * Runs and caches are results, not sources: keep them out of git unless the user edits this file.
 * @param root a folder beside which a `.dota` holds it, or that stands alone
 */
export async function ignoreInGit(root: string): Promise<void> {
  const parent = path.dirname(root);
  const folder = path.basename(parent) === '.dota' ? parent : root;
  try {
    await writeFile(path.join(folder, '.gitignore'), '*\n', { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
