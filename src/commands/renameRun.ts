/** Changes the shown name in run.json, replacing the file in one step. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import { isObject } from '../protocol/guards';

/** @throws DotaError `run.corrupt` when run.json cannot be read */
export async function renameRun(folder: string, name: string): Promise<void> {
  const file = path.join(folder, 'run.json');
  let manifest: unknown;
  try {
    manifest = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new DotaError('run.corrupt', 'run.json cannot be read.', { where: file, cause });
  }
  if (!isObject(manifest))
    throw new DotaError('run.corrupt', 'run.json holds no run.', { where: file });
  const draft = `${file}.rename.tmp`;
  await writeFile(draft, `${JSON.stringify({ ...manifest, name }, null, 2)}\n`);
  await rename(draft, file);
}
