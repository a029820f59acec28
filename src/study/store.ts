/**
 * What stands in a study's folder, all that its state is derived from:
 *
 *   runs/<id>/          run folders as everywhere, with scores.json beside run.json
 *   jobs/<key>.json     which run carries out the configuration of that hash
 *   test-ledger.jsonl   every time that a test file was opened, and for which run
 *   design.json         the study as it was when a test file was first opened
 */
import { createHash } from 'node:crypto';
import { appendFile, mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { isObject, isString } from '../protocol/guards';
import type { RunManifest } from '../protocol/runFiles';
import { runFileError, writeFileAtomic } from '../runs/atomicFile';
import { readManifest } from '../runs/manifest';
import { runFolderById, type RunFolder } from '../runs/runFolder';
import { DotaError } from '../protocol/errors';
import { canonical } from './plan';
import type { StudyConfig } from './studyConfig';

export interface LedgerEntry {
  key: string;
  run: string;
  /** SHA-256 of the test file. */
  dataHash: string;
  design: string;
  at: string;
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
      await mkdir(path.join(this.folder, 'jobs'), { recursive: true });
    } catch (cause) {
      throw runFileError(cause, this.folder);
    }
  }

  /** The run of a planned configuration, with its manifest; undefined where none was started. */
  async find(key: string): Promise<{ folder: RunFolder; manifest: RunManifest } | undefined> {
    const raw = await readJson(this.#job(key));
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

  async ledger(): Promise<LedgerEntry[]> {
    const text = await readFile(this.#ledger(), 'utf8').catch(() => '');
    return text.split('\n').flatMap((line) => {
      const entry = parse(line);
      return isObject(entry) && isString(entry.key) && isString(entry.design)
        ? [entry as unknown as LedgerEntry]
        : [];
    });
  }

  /**
   * Records, before a test file is opened, that it is. The first entry fixes the design: a study that
   * was changed after its test results were seen would be choosing by them.
   * @throws DotaError `study.changed`
   */
  async openTest(study: StudyConfig, entry: Omit<LedgerEntry, 'design' | 'at'>): Promise<void> {
    const design = designHash(study);
    await this.checkDesign(study);
    const earlier = (await this.ledger()).length;
    if (earlier === 0) {
      await writeFileAtomic(
        path.join(this.folder, 'design.json'),
        `${JSON.stringify(study, null, 2)}\n`,
      );
    }
    const line = JSON.stringify({ ...entry, design, at: new Date().toISOString() });
    await appendFile(this.#ledger(), `${line}\n`);
  }

  /** @throws DotaError `study.changed` when a test file was opened under another design */
  async checkDesign(study: StudyConfig): Promise<void> {
    const design = designHash(study);
    const other = (await this.ledger()).find((entry) => entry.design !== design);
    if (other === undefined) return;
    throw new DotaError(
      'study.changed',
      `The study was changed after its test split had been used (${other.at}).`,
      {
        where: path.join(this.folder, 'design.json'),
        next: 'Go back to that design, or start the changed study in another output_dir with a fresh test split.',
      },
    );
  }

  #job(key: string): string {
    return path.join(this.folder, 'jobs', `${key}.json`);
  }

  #ledger(): string {
    return path.join(this.folder, 'test-ledger.jsonl');
  }
}

/** Everything that decides which runs there are; names and claims may be reworded. */
export function designHash(study: StudyConfig): string {
  const { name: _name, claims: _claims, output_dir: _place, $schema: _schema, ...rest } = study;
  return createHash('sha256').update(canonical(rest)).digest('hex');
}

async function readJson(file: string): Promise<unknown> {
  return parse(await readFile(file, 'utf8').catch(() => ''));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
