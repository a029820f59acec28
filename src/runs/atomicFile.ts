/** Small files that are replaced whole or not at all, whatever happens in between. */
import { randomBytes } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';

/**
 * Replaces `file`: temporary name beside it, fsync, rename, fsync of the folder. A crash leaves the
 * old contents or the new ones, never a mixture.
 * @throws DotaError `file.diskFull` (the old file is intact), `file.missing`, `file.unreadable`
 */
export async function writeFileAtomic(file: string, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  await writeStreamAtomic(file, (write) => write(bytes));
}

/**
 * As `writeFileAtomic`, for contents that come in parts and never stand in memory as a whole.
 * @param produce writes the parts in order; when it throws, the file stays as it was
 * @throws what `produce` throws, and the errors of `writeFileAtomic`
 */
export async function writeStreamAtomic(
  file: string,
  produce: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o644);
    try {
      await produce((bytes) => writeFully(handle, bytes));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await renameOver(temporary, file);
    await syncFolder(path.dirname(file));
  } catch (cause) {
    await rm(temporary, { force: true });
    throw runFileError(cause, file);
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}

/** Windows refuses to replace a file that somebody reads at that moment: try again for a while. */
async function renameOver(from: string, to: string): Promise<void> {
  const attempts = process.platform === 'win32' ? 6 : 1;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await rename(from, to);
      return;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (attempt === attempts || (code !== 'EPERM' && code !== 'EBUSY' && code !== 'EACCES')) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 10 * 2 ** attempt));
    }
  }
}

/** Makes a rename or a new entry durable; Windows has no such call and needs none. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Turns an error of the file system into one that says what to do; others pass unchanged. */
export function runFileError(cause: unknown, file: string): unknown {
  if (cause instanceof DotaError || !(cause instanceof Error) || !('code' in cause)) return cause;
  switch (cause.code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return diskFull(file, cause);
    case 'ENOENT':
      return new DotaError('file.missing', 'The file or its folder does not exist.', {
        where: file,
        next: 'Check the path.',
        cause,
      });
    default:
      return new DotaError('file.unreadable', `The file system refused: ${cause.message}.`, {
        where: file,
        next: 'Check the permissions of the folder.',
        cause,
      });
  }
}

export function diskFull(file: string, cause?: unknown, detail = ''): DotaError {
  return new DotaError('file.diskFull', `The disk is full.${detail}`, {
    where: file,
    next: 'Free some space, then resume the run; what was saved before is intact.',
    cause,
  });
}
