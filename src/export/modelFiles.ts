/** A new model folder: written beside its place, with the files that other programs look for. */
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { fileError, resolveInside } from '../models/files';
import { DotaError } from '../protocol/errors';

/** Files besides the weights that make a folder complete for other programs. */
const companionFiles: ReadonlySet<string> = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'LICENSE',
  'LICENSE.txt',
  'LICENSE.md',
  'USE_POLICY.md',
  'NOTICE',
]);

/** Copies what lies beside the weights. @throws DotaError `file.unreadable`, `file.diskFull` */
export async function copyCompanions(folder: string, target: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!companionFiles.has(name)) continue;
    await copyFile(await resolveInside(folder, name), path.join(target, name));
  }
}

/**
 * Fills a folder beside its place and renames it when it is complete; when `fill` throws, nothing is
 * left behind.
 * @param target must not exist, or be an empty folder
 * @throws DotaError `file.unreadable` (target not empty), `file.diskFull`; what `fill` throws
 */
export async function writeFolder(
  target: string,
  fill: (stage: string) => Promise<void>,
): Promise<void> {
  await requireEmpty(target);
  const stage = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await mkdir(stage, { recursive: true });
    await fill(stage);
    await rmdir(target).catch(() => undefined);
    await rename(stage, target);
  } catch (cause) {
    await rm(stage, { recursive: true, force: true });
    throw fileError(cause, target);
  }
}

async function requireEmpty(target: string): Promise<void> {
  const names = await readdir(target).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw fileError(cause, target);
  });
  if (names.length === 0) return;
  throw new DotaError('file.unreadable', 'The folder is not empty.', {
    where: target,
    next: 'Choose a new folder, so that nothing is overwritten.',
  });
}
