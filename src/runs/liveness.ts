/**
 * Who owns a run folder now. `lock.json` is untrusted: a cloned repository can ship one. Only a lock
 * whose record stands in the user's own folder, and whose process still is the one recorded, counts
 * as a trainer of ours.
 */
import { readFile, realpath, stat } from 'node:fs/promises';
import * as z from 'zod';
import { DotaError } from '../protocol/errors';
import type { LockFile, RunManifest, RunState } from '../protocol/runFiles';
import { runFileError } from './atomicFile';
import { readOwnerRecord, type OwnerRecord } from './ownerRecord';
import { hostOf, processStart } from './processIdentity';
import type { RunFolder } from './runFolder';
import os from 'node:os';

const lockSchema = z.object({
  pid: z.int(),
  processStart: z.string(),
  nonceId: z.string(),
  socket: z.string(),
  startedAt: z.string(),
});

/** A trainer on another machine shows life by touching its lock this often or oftener. */
export const heartbeatMs = 5000;
const remoteSilenceMs = 120_000;

export type Liveness =
  /** No lock: the run is nobody's. */
  | { kind: 'none' }
  /** A trainer of this user on this machine; the record, not the lock, says how to reach it. */
  | { kind: 'alive'; lock: LockFile; record: OwnerRecord }
  /**
   * Not ours to judge: another machine's lock with a fresh heartbeat, or a lock that names a running
   * process without a record. It is never signalled or connected to.
   */
  | { kind: 'unknown'; lock: LockFile; reason: string }
  /** A lock whose owner is gone: the run crashed. */
  | { kind: 'dead'; lock: LockFile | undefined };

/** The lock as written, undefined when there is none, `'invalid'` when it cannot be understood. */
export async function readLock(folder: RunFolder): Promise<LockFile | 'invalid' | undefined> {
  let text: string;
  try {
    text = await readFile(folder.lock, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw runFileError(cause, folder.lock);
  }
  try {
    return lockSchema.parse(JSON.parse(text));
  } catch {
    return 'invalid';
  }
}

/** Finds out who owns the run. Nothing is signalled or connected to. */
export async function checkLiveness(folder: RunFolder): Promise<Liveness> {
  const lock = await readLock(folder);
  if (lock === undefined) return { kind: 'none' };
  if (lock === 'invalid') return { kind: 'dead', lock: undefined };
  const start = await processStart(lock.pid);
  const running = start !== undefined && start === lock.processStart;
  const record = await readOwnerRecord(lock.nonceId);
  if (record !== undefined && (await isRecordOf(record, lock, folder))) {
    return running ? { kind: 'alive', lock, record } : { kind: 'dead', lock };
  }
  if (running) {
    return { kind: 'unknown', lock, reason: 'Its trainer was not started by you.' };
  }
  const host = hostOf(lock.processStart);
  if (host !== '' && host !== os.hostname() && (await heartbeatAge(folder)) < remoteSilenceMs) {
    return { kind: 'unknown', lock, reason: `Its trainer runs on ${host}.` };
  }
  return { kind: 'dead', lock };
}

async function isRecordOf(
  record: OwnerRecord,
  lock: LockFile,
  folder: RunFolder,
): Promise<boolean> {
  return (
    record.pid === lock.pid &&
    record.processStart === lock.processStart &&
    record.socket === lock.socket &&
    // A record copied along with a run folder must not make the copy look alive.
    record.runFolder === (await realpath(folder.path))
  );
}

async function heartbeatAge(folder: RunFolder): Promise<number> {
  const info = await stat(folder.lock).catch(() => undefined);
  return info === undefined ? Infinity : Date.now() - info.mtimeMs;
}

/** The state to show: a manifest that claims to run while nobody owns the folder is a crash. */
export function effectiveState(manifest: RunManifest, liveness: Liveness): RunState {
  const active = manifest.state === 'running' || manifest.state === 'paused';
  const owned = liveness.kind === 'alive' || liveness.kind === 'unknown';
  return active && !owned ? 'crashed' : manifest.state;
}

/** The error for whoever wants a folder that is taken. */
export function lockedError(folder: RunFolder, liveness: Liveness): DotaError {
  const pid = liveness.kind === 'alive' ? ` (process ${liveness.lock.pid})` : '';
  const reason = liveness.kind === 'unknown' ? ` ${liveness.reason}` : '';
  return new DotaError('run.locked', `A trainer owns this run already${pid}.${reason}`, {
    where: folder.path,
    next: 'Stop it first, or wait until it has ended.',
  });
}
