/** Files of a run folder are opened without following links: the folder may come from anybody. */
import { constants } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { DotaError } from '../protocol/errors';

/** Flags for reading; a link in the file's place is an error (`ELOOP`). Windows knows no such flag. */
export const readNoFollow =
  constants.O_RDONLY | ((constants.O_NOFOLLOW as number | undefined) ?? 0);

/**
 * For files that somebody else opens (the editor).
 * @returns whether the file is there
 * @throws DotaError `usage` when it is a link or no file, which would be read or written elsewhere
 */
export async function isOwnFile(file: string): Promise<boolean> {
  const info = await lstat(file).catch(() => undefined);
  if (info === undefined) return false;
  if (info.isFile()) return true;
  throw new DotaError('usage', 'This is a link in a run folder and is not opened.', {
    where: file,
    next: 'Look at where it leads; remove it by hand.',
  });
}
