/** Reads what stands in a run folder, bounded and checked: the folder may come from anybody. */
import { lstat, open, readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { isNumber, isObject, isOneOf, isString } from '../protocol/guards';
import { runStates, type LockFile, type RunManifest } from '../protocol/runFiles';
import type { RunView } from './runView';

export interface RunSnapshot {
  folder: string;
  manifest: RunManifest;
  /** Identity of run.json as read, so that it is read again only when it changed. */
  manifestStamp: string;
  lock: LockFile | undefined;
  /** A process with the lock's id exists. Whether it is the trainer, only a handshake tells. */
  lockAlive: boolean;
  hasCheckpoint: boolean;
  journalBytes: number;
  last: RunView['last'];
}

const maxManifestBytes = 4 * 1024 * 1024;
const maxLockBytes = 16 * 1024;
const tailBytes = 16 * 1024;

/** @returns undefined when the folder has no readable run.json */
export async function readSnapshot(
  folder: string,
  before: RunSnapshot | undefined,
): Promise<RunSnapshot | undefined> {
  const file = path.join(folder, 'run.json');
  const stamp = await stampOf(file, maxManifestBytes);
  if (stamp === undefined) return undefined;
  let manifest = before?.manifestStamp === stamp ? before.manifest : undefined;
  if (manifest === undefined) {
    manifest = parseManifest(await readJson(file), path.basename(folder));
    // A half-written file would be replaced in a moment; keep what was read before.
    if (manifest === undefined) return before;
  }
  const lock = await readLock(path.join(folder, 'lock.json'));
  const journal = path.join(folder, 'metrics.jsonl');
  const journalBytes = await sizeOf(journal);
  const last =
    before !== undefined && before.journalBytes === journalBytes
      ? before.last
      : await lastStep(journal, journalBytes);
  return {
    folder,
    manifest,
    manifestStamp: stamp,
    lock,
    lockAlive: lock !== undefined && processExists(lock.pid),
    hasCheckpoint: before?.hasCheckpoint === true || (await hasCheckpoint(folder)),
    journalBytes,
    last,
  };
}

/** A plain file of bounded size, as `size:mtime:inode`; undefined for anything else. */
async function stampOf(file: string, maxBytes: number): Promise<string | undefined> {
  try {
    const s = await lstat(file);
    return s.isFile() && s.size <= maxBytes ? `${s.size}:${s.mtimeMs}:${s.ino}` : undefined;
  } catch {
    return undefined;
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    const s = await lstat(file);
    return s.isFile() ? s.size : 0;
  } catch {
    return 0;
  }
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as unknown;
  } catch {
    return undefined;
  }
}

async function readLock(file: string): Promise<LockFile | undefined> {
  if ((await stampOf(file, maxLockBytes)) === undefined) return undefined;
  const raw = await readJson(file);
  if (!isObject(raw)) return undefined;
  const { pid, processStart, nonceId, socket, startedAt } = raw;
  return isNumber(pid) &&
    Number.isSafeInteger(pid) &&
    pid > 1 &&
    isString(processStart) &&
    isString(nonceId) &&
    isString(socket) &&
    isString(startedAt)
    ? { pid, processStart, nonceId, socket, startedAt }
    : undefined;
}

/** Signal 0 delivers nothing: it only asks whether the process exists. */
function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function hasCheckpoint(folder: string): Promise<boolean> {
  try {
    const names = await readdir(path.join(folder, 'checkpoints'));
    return names.some((name) => /^step-\d+$/.test(name));
  } catch {
    return false;
  }
}

async function lastStep(file: string, size: number): Promise<RunView['last']> {
  if (size === 0) return undefined;
  const handle = await open(file, 'r').catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const length = Math.min(size, tailBytes);
    const buffer = Buffer.alloc(length);
    await handle.read(buffer, 0, length, size - length);
    const lines = buffer.toString('utf8').split('\n');
    for (const line of lines.reverse()) {
      const step = stepOf(line);
      if (step !== undefined) return step;
    }
    return undefined;
  } finally {
    await handle.close();
  }
}

function stepOf(line: string): RunView['last'] {
  if (!line.startsWith('{')) return undefined;
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(row) || row.kind !== 'step') return undefined;
  const { step, loss, tokensPerSecond, elapsed } = row;
  return isNumber(step) && isNumber(loss) && isNumber(tokensPerSecond) && isNumber(elapsed)
    ? { step, loss, tokensPerSecond, elapsed }
    : undefined;
}

/** Checks what is shown; fields of a wrong type are dropped, not trusted. */
export function parseManifest(raw: unknown, id: string): RunManifest | undefined {
  if (!isObject(raw) || !isOneOf(runStates, raw.state)) return undefined;
  const text = (value: unknown, limit = 300): string | undefined =>
    isString(value) ? value.slice(0, limit) : undefined;
  const manifest: RunManifest = {
    formatVersion: 1,
    id,
    name: text(raw.name, 200) ?? id,
    state: raw.state,
    createdAt: text(raw.createdAt) ?? '',
    config: raw.config,
    configDirectory: text(raw.configDirectory, 4096) ?? '',
    versions: { dota: '', node: '', onnxruntime: '', platform: '' },
  };
  const started = text(raw.startedAt);
  if (started !== undefined) manifest.startedAt = started;
  const ended = text(raw.endedAt);
  if (ended !== undefined) manifest.endedAt = ended;
  const numbers = <K extends string>(
    value: unknown,
    keys: readonly K[],
  ): Record<K, number> | undefined =>
    isObject(value) && keys.every((key) => isNumber(value[key]))
      ? (Object.fromEntries(keys.map((key) => [key, value[key]])) as Record<K, number>)
      : undefined;
  const progress = numbers(raw.progress, ['step', 'totalSteps', 'epoch', 'tokens']);
  if (progress !== undefined) manifest.progress = progress;
  const best = numbers(raw.best, ['step', 'validationLoss']);
  if (best !== undefined) manifest.best = best;
  const trainable = numbers(raw.trainable, ['parameters', 'fraction']);
  if (trainable !== undefined) manifest.trainable = trainable;
  if (isNumber(raw.peakRssMb)) manifest.peakRssMb = raw.peakRssMb;
  if (isObject(raw.last)) {
    const { trainLoss, validationLoss } = raw.last;
    manifest.last = {
      ...(isNumber(trainLoss) ? { trainLoss } : {}),
      ...(isNumber(validationLoss) ? { validationLoss } : {}),
    };
  }
  if (isObject(raw.device) && isOneOf(['cpu', 'webgpu'] as const, raw.device.kind)) {
    manifest.device = {
      kind: raw.device.kind,
      name: text(raw.device.name) ?? raw.device.kind,
      threads: isNumber(raw.device.threads) ? raw.device.threads : 0,
    };
  }
  if (isObject(raw.fingerprint) && Object.values(raw.fingerprint).every(isString)) {
    manifest.fingerprint = raw.fingerprint as unknown as NonNullable<RunManifest['fingerprint']>;
  }
  if (isObject(raw.error) && isString(raw.error.message) && isString(raw.error.code)) {
    manifest.error = raw.error as unknown as NonNullable<RunManifest['error']>;
  }
  return manifest;
}
