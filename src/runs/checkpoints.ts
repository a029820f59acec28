/**
 * Checkpoints: written beside their place, synced, described by a manifest with hashes that comes
 * last, and only then renamed. A checkpoint that exists under its name is whole, and a resume still
 * verifies it before use.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { DotaError } from '../protocol/errors';
import { diskFull, runFileError, syncFolder, writeFileAtomic } from './atomicFile';
import { randomHex } from './ownerRecord';
import type { RunFolder } from './runFolder';

const manifestName = 'manifest.json';
const stagePrefix = '.stage-';
const namePattern = /^step-(\d{1,12})$/;

const manifestSchema = z.object({
  formatVersion: z.literal(1),
  runId: z.string(),
  step: z.int().min(0),
  files: z.record(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/),
    z.object({ size: z.int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  ),
});

export interface Checkpoint {
  step: number;
  /** Absolute folder. */
  path: string;
}

/** The checkpoints by name, newest first; nothing is verified. */
export async function listCheckpoints(folder: RunFolder): Promise<Checkpoint[]> {
  let names: string[];
  try {
    const entries = await readdir(folder.checkpoints, { withFileTypes: true });
    names = entries.filter((e) => e.isDirectory()).map((e) => e.name);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw runFileError(cause, folder.checkpoints);
  }
  return names
    .flatMap((name) => {
      const step = namePattern.exec(name)?.[1];
      return step === undefined
        ? []
        : [{ step: Number(step), path: path.join(folder.checkpoints, name) }];
    })
    .sort((a, b) => b.step - a.step);
}

export function checkpointPath(folder: RunFolder, step: number): string {
  return path.join(folder.checkpoints, `step-${step}`);
}

/**
 * Writes a checkpoint.
 * @param bytes about how much `write` will write, asked of the disk beforehand
 * @param write fills the folder it is given with plain files
 * @throws DotaError `file.diskFull`, `file.unreadable`; earlier checkpoints are then untouched
 */
export async function saveCheckpoint(
  folder: RunFolder,
  step: number,
  bytes: number,
  write: (stage: string) => Promise<void>,
): Promise<Checkpoint> {
  const stage = path.join(folder.checkpoints, `${stagePrefix}${step}-${randomHex(4)}`);
  const target = checkpointPath(folder, step);
  try {
    await mkdir(stage, { recursive: true });
    await checkSpace(folder.checkpoints, bytes);
    await write(stage).catch((cause: unknown) => {
      // Writers of single files advise to repeat a command; a run is resumed.
      const full = cause instanceof DotaError && cause.code === 'file.diskFull';
      throw full ? diskFull(target, cause) : cause;
    });
    await describe(folder, step, stage);
    await replaceFolder(stage, target);
    await syncFolder(folder.checkpoints);
  } catch (cause) {
    await rm(stage, { recursive: true, force: true });
    throw runFileError(cause, target);
  }
  return { step, path: target };
}

/** Hashes and syncs every file as it reads back from the disk, then writes the manifest. */
async function describe(folder: RunFolder, step: number, stage: string): Promise<void> {
  const files: Record<string, { size: number; sha256: string }> = {};
  for (const name of (await readdir(stage)).sort()) {
    const file = path.join(stage, name);
    const handle = await open(file, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    files[name] = await digest(file);
  }
  const manifest = { formatVersion: 1, runId: folder.id, step, files };
  await writeFileAtomic(
    path.join(stage, manifestName),
    `${JSON.stringify(manifest, undefined, 2)}\n`,
  );
}

/** A folder cannot be renamed over a full one: an older attempt at the same step steps aside. */
async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = path.join(path.dirname(to), `${stagePrefix}old-${randomHex(4)}`);
  let replaced = false;
  try {
    await rename(to, aside);
    replaced = true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  await rename(from, to);
  if (replaced) await rm(aside, { recursive: true, force: true });
}

async function digest(file: string): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    size += (chunk as Buffer).length;
  }
  return { size, sha256: hash.digest('hex') };
}

/**
 * Checks every file of a checkpoint against its manifest.
 * @throws DotaError `run.corrupt`, naming the first file that is wrong
 */
export async function verifyCheckpoint(folder: RunFolder, checkpoint: Checkpoint): Promise<void> {
  const bad = (name: string, why: string, cause?: unknown): DotaError =>
    new DotaError('run.corrupt', `The checkpoint of step ${checkpoint.step} is damaged: ${why}.`, {
      where: path.join(checkpoint.path, name),
      next: 'An older checkpoint is used where there is one.',
      cause,
    });
  let manifest: z.output<typeof manifestSchema>;
  try {
    const text = await readFile(path.join(checkpoint.path, manifestName), 'utf8');
    manifest = manifestSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw bad(manifestName, 'its manifest is missing or broken', cause);
  }
  if (manifest.step !== checkpoint.step) throw bad(manifestName, 'it belongs to another step');
  if (manifest.runId !== folder.id) throw bad(manifestName, 'it belongs to another run');
  for (const [name, expected] of Object.entries(manifest.files)) {
    let found: { size: number; sha256: string };
    try {
      found = await digest(path.join(checkpoint.path, name));
    } catch (cause) {
      throw bad(name, 'a file is missing or unreadable', cause);
    }
    if (found.size !== expected.size) throw bad(name, `${found.size} of ${expected.size} bytes`);
    if (found.sha256 !== expected.sha256) throw bad(name, 'its contents changed');
  }
}

/**
 * The newest checkpoint that verifies.
 * @returns the checkpoint, if any, and why newer ones were passed over
 */
export async function newestGoodCheckpoint(
  folder: RunFolder,
): Promise<{ checkpoint: Checkpoint | undefined; passedOver: DotaError[] }> {
  const passedOver: DotaError[] = [];
  for (const checkpoint of await listCheckpoints(folder)) {
    try {
      await verifyCheckpoint(folder, checkpoint);
      return { checkpoint, passedOver };
    } catch (error) {
      if (!(error instanceof DotaError) || error.code !== 'run.corrupt') throw error;
      passedOver.push(error);
    }
  }
  return { checkpoint: undefined, passedOver };
}

/**
 * Deletes what need not be kept after `last` was written: the `limit` newest stay, and the best.
 * Checkpoints above `last` are leftovers of a run that went back, and go. Never throws: a failed
 * deletion costs space, not the run.
 */
export async function rotateCheckpoints(
  folder: RunFolder,
  keep: { last: number; best: number | undefined; limit: number },
): Promise<void> {
  const all = await listCheckpoints(folder).catch(() => []);
  const current = all.filter(({ step }) => step <= keep.last);
  const kept = new Set(current.slice(0, Math.max(1, keep.limit)).map(({ step }) => step));
  for (const { step, path: place } of all) {
    if (kept.has(step) || step === keep.best || step === keep.last) continue;
    await rm(place, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Removes what a killed trainer left half written. Call only while holding the lock. */
export async function sweepLeftovers(folder: RunFolder): Promise<void> {
  const stages = await readdir(folder.checkpoints).catch(() => []);
  for (const name of stages) {
    if (name.startsWith(stagePrefix)) {
      await rm(path.join(folder.checkpoints, name), { recursive: true, force: true });
    }
  }
  for (const name of await readdir(folder.path).catch(() => [])) {
    if (name.endsWith('.tmp')) await rm(path.join(folder.path, name), { force: true });
  }
}

/**
 * Asks the disk for room.
 * @throws DotaError `file.diskFull`
 */
export async function checkSpace(folder: string, bytes: number): Promise<void> {
  // Where the file system does not say, the write itself will.
  const info = await statfs(folder).catch(() => undefined);
  if (info === undefined) return;
  const free = info.bavail * info.bsize;
  if (free < bytes) {
    const mb = (n: number): string => `${Math.ceil(n / 1e6)} MB`;
    throw diskFull(folder, undefined, ` ${mb(bytes)} are needed, ${mb(free)} are free.`);
  }
}
