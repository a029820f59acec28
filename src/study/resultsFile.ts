/**
 * The results of a study, one JSON line each: its settled runs, and every opening of a test file. The
 * report is made from this file and from nothing else, and a run whose line is there is done, on
 * whichever machine that was.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { DotaError } from '../protocol/errors';
import { runFileError, writeFileAtomic } from '../runs/atomicFile';
import { canonical, without } from './plan';
import { studyRecordSchema, type StudyRecord } from './record';
import type { StudyConfig } from './studyConfig';

const openingSchema = z.object({
  kind: z.literal('test-opened'),
  key: z.string().min(1),
  /** SHA-256 of the test file. */
  dataHash: z.string(),
  /** Hash of the study's design at that time. */
  design: z.string(),
  at: z.string(),
});
const lineSchema = z.discriminatedUnion('kind', [studyRecordSchema, openingSchema]);

export type TestOpening = z.output<typeof openingSchema>;

export class ResultsFile {
  readonly file: string;
  readonly #records = new Map<string, StudyRecord>();
  readonly #openings: TestOpening[] = [];
  /** Of the write at hand: jobs side by side end when they like. */
  #written: Promise<void> = Promise.resolve();

  private constructor(file: string) {
    this.file = file;
  }

  /**
   * A missing file has no results yet.
   * @throws DotaError `study.results` for a line that is none: what it said would be measured again
   */
  static async open(file: string): Promise<ResultsFile> {
    const results = new ResultsFile(path.resolve(file));
    for (const [i, line] of (await textOf(results.file)).split('\n').entries()) {
      if (line.trim() === '') continue;
      const entry = parse(line, `${results.file}:${i + 1}`);
      if (entry.kind === 'run') results.#records.set(entry.key, entry);
      else results.#openings.push(entry);
    }
    return results;
  }

  find(key: string): StudyRecord | undefined {
    return this.#records.get(key);
  }

  get openings(): readonly TestOpening[] {
    return this.#openings;
  }

  /** Keeps a run; the file is replaced whole. @throws DotaError of the disk */
  async put(record: StudyRecord): Promise<void> {
    this.#records.set(record.key, record);
    await this.#write();
  }

  /**
   * Records, before a test file is opened for a run, that it is. The first opening fixes the design:
   * a study that was changed after its test results were seen would be choosing by them.
   * @throws DotaError `study.changed`; `internal` for a run that has its test score
   */
  async openTest(study: StudyConfig, key: string, dataHash: string): Promise<void> {
    this.checkDesign(study);
    if (this.#records.get(key)?.test !== undefined) {
      throw new DotaError('internal', `Run ${key} has its test score and gets no second one.`);
    }
    const at = new Date().toISOString();
    this.#openings.push({ kind: 'test-opened', key, dataHash, design: designHash(study), at });
    await this.#write();
  }

  /** @throws DotaError `study.changed` when a test file was opened under another design */
  checkDesign(study: StudyConfig): void {
    const design = designHash(study);
    const other = this.#openings.find((entry) => entry.design !== design);
    if (other === undefined) return;
    throw new DotaError(
      'study.changed',
      `The study was changed after its test split had been used (${other.at}).`,
      {
        where: this.file,
        next: 'Go back to that design, or start the changed study with other results and output_dir and a fresh test split.',
      },
    );
  }

  /** Forgets all runs. That test files were opened stays on record. */
  async forgetRuns(): Promise<void> {
    this.#records.clear();
    await this.#write();
  }

  #write(): Promise<void> {
    // Each write has all that is known when its turn comes.
    this.#written = this.#written
      .catch(() => undefined)
      .then(async () => {
        const lines = [...this.#openings, ...this.#records.values()];
        const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
        await mkdir(path.dirname(this.file), { recursive: true }).catch((cause: unknown) => {
          throw runFileError(cause, this.file);
        });
        await writeFileAtomic(this.file, text);
      });
    return this.#written;
  }
}

/** Everything that decides which runs there are; names, claims and places may be changed. */
export function designHash(study: StudyConfig): string {
  const rest = without(study, ['name', 'claims', 'output_dir', 'results', '$schema']);
  return createHash('sha256').update(canonical(rest)).digest('hex');
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw runFileError(cause, file);
  }
}

function parse(line: string, where: string): z.output<typeof lineSchema> {
  try {
    return lineSchema.parse(JSON.parse(line));
  } catch (cause) {
    throw new DotaError('study.results', 'This line is no result of a study.', {
      where,
      next: 'Restore the file, or delete the line: its run is then carried out again.',
      cause,
    });
  }
}
