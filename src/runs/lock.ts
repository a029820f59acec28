/** The lock of a run folder: at most one trainer, whatever races or crashes. */
import { link, open, readFile, realpath, rm, unlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { LockFile } from '../protocol/runFiles';
import { runFileError } from './atomicFile';
import { checkLiveness, lockedError, readLock } from './liveness';
import { randomHex, removeOwnerRecord, writeOwnerRecord } from './ownerRecord';
import { processStart } from './processIdentity';
import type { RunFolder } from './runFolder';

export class RunLock {
  readonly #folder: RunFolder;
  readonly lock: LockFile;

  private constructor(folder: RunFolder, lock: LockFile) {
    this.#folder = folder;
    this.lock = lock;
  }

  /**
   * Takes the run for this process; a lock whose owner is gone is taken over.
   * @param socket where this process listens, '' when only the command file works
   * @param nonce shared secret of the handshake, 32 bytes in hex
   * @throws DotaError `run.locked`
   */
  static async acquire(folder: RunFolder, socket: string, nonce: string): Promise<RunLock> {
    const nonceId = randomHex(16);
    const start = (await processStart(process.pid)) ?? '';
    const lock: LockFile = {
      pid: process.pid,
      processStart: start,
      nonceId,
      socket,
      startedAt: new Date().toISOString(),
    };
    try {
      // The record first: a lock must never be visible without it.
      await writeOwnerRecord(nonceId, {
        nonce,
        pid: process.pid,
        processStart: start,
        runFolder: await realpath(folder.path),
        socket,
      });
      await place(folder, lock);
      return new RunLock(folder, lock);
    } catch (cause) {
      await removeOwnerRecord(nonceId);
      throw runFileError(cause, folder.lock);
    }
  }

  /** Shows life to other machines that share the file system. */
  async beat(): Promise<void> {
    const now = new Date();
    await utimes(this.#folder.lock, now, now).catch(() => undefined);
  }

  /** True while the lock on disk is this one (somebody may have deleted the run folder). */
  async isOurs(): Promise<boolean> {
    const lock = await readLock(this.#folder).catch(() => undefined);
    return typeof lock === 'object' && lock.nonceId === this.lock.nonceId;
  }

  /** Gives the run back; a lock that somebody else placed meanwhile stays. */
  async release(): Promise<void> {
    if (await this.isOurs()) await rm(this.#folder.lock, { force: true });
    await removeOwnerRecord(this.lock.nonceId);
  }
}

async function place(folder: RunFolder, lock: LockFile): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    if (await createExclusively(folder.lock, lock)) return;
    const liveness = await checkLiveness(folder);
    if (liveness.kind === 'none') continue;
    if (liveness.kind !== 'dead') throw lockedError(folder, liveness);
    await takeAway(folder, liveness.lock, lock);
  }
  throw lockedError(folder, await checkLiveness(folder));
}

/**
 * Removes a dead lock. Deleting it by name alone would let a slow rival delete the lock that a fast
 * one has just placed, so the right to remove the lock of one dead owner is itself claimed
 * exclusively, under that owner's id.
 */
async function takeAway(
  folder: RunFolder,
  dead: LockFile | undefined,
  ours: LockFile,
): Promise<void> {
  const id = dead !== undefined && /^[0-9a-f]{32}$/.test(dead.nonceId) ? dead.nonceId : 'unnamed';
  const claim = `${folder.lock}.${id}.claim`;
  if (!(await createExclusively(claim, ours))) {
    const text = await readFile(claim, 'utf8').catch(() => '');
    const rival = parseClaim(text);
    const alive = rival !== undefined && (await processStart(rival.pid)) === rival.processStart;
    if (alive) await new Promise((resolve) => setTimeout(resolve, 50));
    else await rm(claim, { force: true });
    return;
  }
  try {
    const now = await readLock(folder);
    const unchanged = now === 'invalid' ? dead === undefined : now?.nonceId === dead?.nonceId;
    if (now !== undefined && unchanged) {
      await unlink(folder.lock);
      if (dead !== undefined) await removeOwnerRecord(dead.nonceId);
    }
  } finally {
    await rm(claim, { force: true });
  }
}

function parseClaim(text: string): { pid: number; processStart: string } | undefined {
  try {
    const claim = JSON.parse(text) as Partial<LockFile>;
    return typeof claim.pid === 'number' && typeof claim.processStart === 'string'
      ? { pid: claim.pid, processStart: claim.processStart }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Creates a file with all its contents at once, or returns false when it exists. */
async function createExclusively(file: string, contents: LockFile): Promise<boolean> {
  const text = `${JSON.stringify(contents, undefined, 2)}\n`;
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.${randomHex(6)}.tmp`);
  try {
    await writeFile(temporary, text, { flag: 'wx' });
    await link(temporary, file);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EEXIST') return false;
    // File systems without hard links: exclusive, though a reader may see the file before its text.
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'ENOSYS') return writeNew(file, text);
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function writeNew(file: string, text: string): Promise<boolean> {
  try {
    const handle = await open(file, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
