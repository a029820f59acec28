/**
 * The folder in which a study works. What it found out stands in its results; this is what carrying
 * out needs in the meantime, and may be deleted between two sittings:
 *
 *   runs/<id>/        run folders as everywhere
 *   jobs/<key>.json   which run carries out the configuration of that hash
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { isObject, isString } from '../protocol/guards';
import type { RunManifest } from '../protocol/runFiles';
import { runFileError, writeFileAtomic } from '../runs/atomicFile';
import { readManifest } from '../runs/manifest';
import { runFolderById, type RunFolder } from '../runs/runFolder';
import { DotaError } from '../protocol/errors';

export interface FoundRun {
  folder: RunFolder;
  manifest: RunManifest;
}

export class StudyStore {
  readonly folder: string;
  readonly runs: string;

  constructor(folder: string) {
    this.folder = path.resolve(folder);
    this.runs = path.join(this.folder, 'runs');
  }

  /** @throws DotaError `file.diskFull`, `file.unreadable` */
  async prepare(): Promise<void> {
    try {
      await mkdir(this.#jobs, { recursive: true });
    } catch (cause) {
      throw runFileError(cause, this.folder);
    }
  }

  /** The run of a planned configuration, with its manifest; undefined where none is there. */
  async find(key: string): Promise<FoundRun | undefined> {
    const raw = parse(await readFile(this.#job(key), 'utf8').catch(() => ''));
    if (!isObject(raw) || !isString(raw.run)) return undefined;
    try {
      const folder = runFolderById(this.runs, raw.run);
      return { folder, manifest: await readManifest(folder) };
    } catch (error) {
      // Deleted or damaged: it is run again.
      if (error instanceof DotaError) return undefined;
      throw error;
    }
  }

  async assign(key: string, run: string): Promise<void> {
    await writeFileAtomic(this.#job(key), `${JSON.stringify({ key, run })}\n`);
  }

  /** Deletes all runs. @throws DotaError of the disk */
  async clear(): Promise<void> {
    try {
      await rm(this.#jobs, { recursive: true, force: true });
      await rm(this.runs, { recursive: true, force: true });
    } catch (cause) {
      throw runFileError(cause, this.folder);
    }
    await this.prepare();
  }

  get #jobs(): string {
    return path.join(this.folder, 'jobs');
  }

  #job(key: string): string {
    return path.join(this.#jobs, `${key}.json`);
  }
}

/** Finished, or diverged: the same configuration would do the same again. */
export function isSettled(manifest: Pick<RunManifest, 'state' | 'error'>): boolean {
  return manifest.state === 'finished' || hasDiverged(manifest);
}

export function hasDiverged({ error }: Pick<RunManifest, 'error'>): boolean {
  return error?.code === 'train.nonFinite';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
