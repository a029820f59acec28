/** Reads what stands in a run folder, bounded and checked: the folder may come from anybody. */
import { lstat, open } from 'node:fs/promises';
import type { RunManifest } from '../protocol/runFiles';
import { isNumber, isObject } from '../protocol/guards';
import { listCheckpoints } from '../runs/checkpoints';
import { checkLiveness, type Liveness } from '../runs/liveness';
import { readManifest } from '../runs/manifest';
import { readNoFollow } from '../runs/noFollow';
import { runFolder } from '../runs/runFolder';
import { isFinal, type RunView } from './runView';

export interface RunSnapshot {
  folder: string;
  manifest: RunManifest;
  /** Identity of run.json as read, so that it is read again only when it changed. */
  manifestStamp: string;
  liveness: Liveness;
  /** When the trainer last touched its lock, in ms since 1970; 0 without a lock. */
  heartbeat: number;
  hasCheckpoint: boolean;
  journalBytes: number;
  last: RunView['last'];
}

const maxManifestBytes = 4 * 1024 * 1024;
const tailBytes = 16 * 1024;

/** @returns undefined when the folder has no readable run.json */
export async function readSnapshot(
  folder: string,
  before: RunSnapshot | undefined,
): Promise<RunSnapshot | undefined> {
  const files = runFolder(folder);
  const stamp = await stampOf(files.manifest);
  if (stamp === undefined) return undefined;
  const lock = await plainFile(files.lock);
  // An ended run costs two looks a scan: hundreds of them may lie in a folder.
  const unchanged =
    before?.manifestStamp === stamp && before.liveness.kind === 'none' && lock === undefined;
  if (unchanged && isFinal(before.manifest.state)) return before;
  let manifest = before?.manifestStamp === stamp ? before.manifest : undefined;
  // An unreadable one (of a later version, or damaged) leaves what was read before.
  manifest ??= await readManifest(files).catch(() => before?.manifest);
  if (manifest === undefined) return undefined;
  const liveness = await checkLiveness(files).catch((): Liveness => ({ kind: 'none' }));
  const journalBytes = (await plainFile(files.journal))?.size ?? 0;
  return {
    folder,
    manifest,
    manifestStamp: stamp,
    liveness,
    heartbeat: lock?.mtimeMs ?? 0,
    hasCheckpoint:
      before?.hasCheckpoint === true || (await listCheckpoints(files).catch(() => [])).length > 0,
    journalBytes,
    last:
      before !== undefined && before.journalBytes === journalBytes
        ? before.last
        : await lastStep(files.journal, journalBytes),
  };
}

/** A link could lead anywhere, so it counts as absent. */
async function plainFile(file: string): Promise<{ size: number; mtimeMs: number } | undefined> {
  const info = await lstat(file).catch(() => undefined);
  return info?.isFile() === true ? info : undefined;
}

async function stampOf(file: string): Promise<string | undefined> {
  const info = await lstat(file).catch(() => undefined);
  return info?.isFile() === true && info.size <= maxManifestBytes
    ? `${info.size}:${info.mtimeMs}:${info.ino}`
    : undefined;
}

async function lastStep(file: string, size: number): Promise<RunView['last']> {
  if (size === 0) return undefined;
  const handle = await open(file, readNoFollow).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const length = Math.min(size, tailBytes);
    const buffer = Buffer.alloc(length);
    await handle.read(buffer, 0, length, size - length);
    for (const line of buffer.toString('utf8').split('\n').reverse()) {
      const step = stepOf(line);
      if (step !== undefined) return step;
    }
    return undefined;
  } finally {
    await handle.close();
  }
}

function stepOf(line: string): RunView['last'] {
  if (!line.startsWith('{"kind":"step"')) return undefined;
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
