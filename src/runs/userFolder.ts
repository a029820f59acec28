/**
 * The per-user folder outside every workspace: control sockets and the records that prove who owns a
 * run. Only its owner may enter it, so what stands there is trusted; what a workspace says is not.
 */
import { chmod, lstat, mkdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { DotaError } from '../protocol/errors';

/**
 * The folder's path; made with mode 0700 when absent.
 * @throws DotaError `file.unreadable` when it is a link or belongs to somebody else
 */
export async function userFolder(): Promise<string> {
  const folder = path.join(os.tmpdir(), `dota-${userName()}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const info = await lstat(folder);
  const uid = process.getuid?.();
  const foreign = uid !== undefined && info.uid !== uid;
  if (!info.isDirectory() || foreign) {
    throw new DotaError('file.unreadable', 'The folder for control sockets is not yours.', {
      where: folder,
      next: 'Remove it, or set TMPDIR to a folder of your own.',
    });
  }
  // Somebody may have made it readable, or the umask too strict.
  if (uid !== undefined && (info.mode & 0o777) !== 0o700) await chmod(folder, 0o700);
  return folder;
}

function userName(): string {
  const uid = process.getuid?.();
  return uid === undefined ? os.userInfo().username.replaceAll(/[^\w-]/g, '_') : String(uid);
}
