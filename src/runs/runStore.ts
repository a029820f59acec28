/** The runs of one root folder (`.dota/runs`): make, list, rename, annotate, measure, delete. */
import { lstat, mkdir, readdir, readFile, realpath, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import type { RunManifest } from '../protocol/runFiles';
import { runFileError, writeFileAtomic } from './atomicFile';
import { ignoreInGit } from './ignoreInGit';
import { checkLiveness } from './liveness';
import { readManifest, writeManifest } from './manifest';
import { isRunId, newRunId, runFolder, runFolderById, type RunFolder } from './runFolder';

const maxNotesBytes = 1 << 20;

export interface NewRun {
  name: string;
  config: unknown;
  configDirectory: string;
  versions: RunManifest['versions'];
}

/** A run that could be read, or the reason why not: one bad folder must not hide the others. */
export type ListedRun =
  { folder: RunFolder; manifest: RunManifest } | { folder: RunFolder; problem: DotaError };

/**
 * Makes a run folder in state `created`. `.dota/` gets a `.gitignore` of its own.
 * @param root folder that holds the run folders; made when absent
 * @throws DotaError `file.diskFull`, `file.unreadable`
 */
export async function createRun(root: string, run: NewRun): Promise<RunFolder> {
  const absolute = path.resolve(root);
  try {
    await mkdir(absolute, { recursive: true });
    await ignoreInGit(absolute);
    for (;;) {
      const folder = runFolderById(absolute, newRunId());
      try {
        await mkdir(folder.path);
      } catch (error) {
        // The same second and the same random digits.
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
        throw error;
      }
      await mkdir(folder.checkpoints);
      await writeManifest(folder, {
        formatVersion: 1,
        id: folder.id,
        name: run.name.slice(0, 120),
        state: 'created',
        createdAt: new Date().toISOString(),
        config: run.config,
        configDirectory: run.configDirectory,
        versions: run.versions,
      });
      return folder;
    }
  } catch (cause) {
    throw runFileError(cause, absolute);
  }
}

/** All runs under `root`, newest name first; an absent root has none. */
export async function listRuns(root: string): Promise<ListedRun[]> {
  let names: string[];
  try {
    const entries = await readdir(root, { withFileTypes: true });
    // Links are not followed: a run lies inside its root.
    names = entries.filter((e) => e.isDirectory() && isRunId(e.name)).map((e) => e.name);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw runFileError(cause, root);
  }
  const runs = await Promise.all(
    names.map(async (id): Promise<ListedRun | undefined> => {
      const folder = runFolderById(root, id);
      try {
        return { folder, manifest: await readManifest(folder) };
      } catch (error) {
        if (!(error instanceof DotaError)) throw error;
        // A folder without a manifest is somebody else's, or half deleted.
        return error.code === 'file.missing' ? undefined : { folder, problem: error };
      }
    }),
  );
  return runs
    .filter((run) => run !== undefined)
    .sort((a, b) => (a.folder.id < b.folder.id ? 1 : -1));
}

/**
 * Finds a run by id under `root`, or by the path of its folder.
 * @throws DotaError `usage` for an impossible name, `file.missing` when there is no such run
 */
export async function findRun(root: string, idOrPath: string): Promise<RunFolder> {
  const isPath = idOrPath.includes('/') || idOrPath.includes(path.sep) || path.isAbsolute(idOrPath);
  const folder = isPath ? runFolder(path.resolve(idOrPath)) : runFolderById(root, idOrPath);
  try {
    await stat(folder.manifest);
  } catch (cause) {
    throw new DotaError('file.missing', `There is no run "${idOrPath}".`, {
      where: folder.path,
      next: '"dota runs list" shows the runs of this folder.',
      cause,
    });
  }
  return folder;
}

/** Changes the name shown. @throws DotaError `usage` when empty or longer than 120 characters */
export async function renameRun(folder: RunFolder, name: string): Promise<void> {
  const trimmed = name.trim();
  if (trimmed === '' || trimmed.length > 120) {
    throw new DotaError('usage', 'A run’s name has 1 to 120 characters.');
  }
  // A trainer at work takes a changed name over when it next writes the manifest.
  await writeManifest(folder, { ...(await readManifest(folder)), name: trimmed });
}

export async function readNotes(folder: RunFolder): Promise<string> {
  try {
    return (await readFile(folder.notes, 'utf8')).slice(0, maxNotesBytes);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw runFileError(cause, folder.notes);
  }
}

export async function writeNotes(folder: RunFolder, text: string): Promise<void> {
  await writeFileAtomic(folder.notes, text.slice(0, maxNotesBytes));
}

/** Bytes that a run occupies; links count as links. */
export async function runSize(folder: RunFolder): Promise<number> {
  const entries = await readdir(folder.path, { withFileTypes: true, recursive: true }).catch(
    (cause: unknown) => {
      throw runFileError(cause, folder.path);
    },
  );
  let bytes = 0;
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    // Files come and go while a trainer is at work.
    const info = await lstat(path.join(entry.parentPath, entry.name)).catch(() => undefined);
    bytes += info?.size ?? 0;
  }
  return bytes;
}

/**
 * Deletes a run for good.
 * @param root the folder that must directly contain it
 * @throws DotaError `run.locked` while a trainer owns it, `usage` when it lies elsewhere
 */
export async function deleteRun(root: string, id: string): Promise<{ freedBytes: number }> {
  const folder = runFolderById(root, id);
  const info = await lstat(folder.path).catch((cause: unknown) => {
    throw runFileError(cause, folder.path);
  });
  // A link planted among the runs would lead the deletion elsewhere.
  const inside =
    path.join(await realpath(path.resolve(root)), id) === (await realpath(folder.path));
  if (!info.isDirectory() || !inside) {
    throw new DotaError('usage', 'This run folder is a link and is not deleted.', {
      where: folder.path,
      next: 'Remove the link by hand.',
    });
  }
  await readManifest(folder).catch((error: unknown) => {
    // Only a folder that is a run (a damaged one too) is deleted.
    if (!(error instanceof DotaError) || error.code !== 'run.corrupt') throw error;
  });
  const liveness = await checkLiveness(folder);
  if (liveness.kind === 'alive' || liveness.kind === 'unknown') {
    throw new DotaError('run.locked', 'A trainer owns this run now.', {
      where: folder.path,
      next: 'Stop the run before deleting it.',
    });
  }
  const freedBytes = await runSize(folder);
  await rm(folder.path, { recursive: true, force: true });
  return { freedBytes };
}
