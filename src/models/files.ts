/** Reading files of a model folder: errors in words, size limits, no way out of the folder. */
import { open, realpath } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';

/**
 * Turns an error of `node:fs` into one for the user.
 * @param file shown as the place
 */
export function fileError(cause: unknown, file: string): DotaError {
  if (cause instanceof DotaError) return cause;
  const code = (cause as NodeJS.ErrnoException).code;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new DotaError('file.missing', 'The file does not exist.', {
        where: file,
        next: 'Check the path, or download the file again.',
        cause,
      });
    case 'ENOSPC':
    case 'EDQUOT':
      return new DotaError('file.diskFull', 'The disk is full.', {
        where: file,
        next: 'Free some space, then run the same command again.',
        cause,
      });
    default:
      return new DotaError(
        'file.unreadable',
        `The file cannot be used: ${cause instanceof Error ? cause.message : String(cause)}.`,
        { where: file, next: 'Check its permissions and that it is a regular file.', cause },
      );
  }
}

/** `models--org--name` when the folder is a snapshot of the Hugging Face hub cache. */
function hubRoot(realFolder: string): string | undefined {
  const snapshots = path.dirname(realFolder);
  const root = path.dirname(snapshots);
  return path.basename(snapshots) === 'snapshots' && /^models--/.test(path.basename(root))
    ? root
    : undefined;
}

/**
 * The real path of a file of a model folder, links resolved. A link may point inside the folder or,
 * in the hub cache (`models--x/snapshots/<revision>/`), into `models--x/blobs`; nowhere else, so
 * that a folder from elsewhere cannot make the trainer read other files.
 * @throws DotaError `file.missing`, `file.unreadable`
 */
export async function resolveInside(folder: string, name: string): Promise<string> {
  const shown = path.join(folder, name);
  let root: string;
  let file: string;
  try {
    root = await realpath(folder);
    file = await realpath(path.join(root, name));
  } catch (cause) {
    throw fileError(cause, shown);
  }
  const hub = hubRoot(root);
  const allowed = hub === undefined ? [root] : [root, path.join(hub, 'blobs')];
  if (!allowed.some((parent) => file.startsWith(parent + path.sep))) {
    throw new DotaError('file.unreadable', 'The file is a link that leaves the model folder.', {
      where: shown,
      next: 'Replace the link by the file itself.',
    });
  }
  return file;
}

/**
 * Reads a whole text file as strict UTF-8, without its byte order mark.
 * @throws DotaError `file.missing`, `file.unreadable`, `file.malformed` when larger than `maxBytes`
 *   or not UTF-8
 */
export async function readText(file: string, maxBytes: number): Promise<string> {
  let bytes: Uint8Array;
  try {
    const handle = await open(file, 'r');
    try {
      const { size } = await handle.stat();
      if (size > maxBytes) {
        throw new DotaError(
          'file.malformed',
          `The file has ${size} bytes; at most ${maxBytes} are accepted.`,
          { where: file, next: 'Check that this is the right file.' },
        );
      }
      bytes = await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw fileError(cause, file);
  }
  return decodeUtf8(bytes, file);
}

/** @throws DotaError `file.malformed` when the bytes are not UTF-8 */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DotaError('file.malformed', 'The text is not valid UTF-8.', {
      where,
      next: 'Save the file as UTF-8, or download it again.',
      cause,
    });
  }
}
