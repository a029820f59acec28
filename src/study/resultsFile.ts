/**
 * The results of a study, one JSON line each: its settled runs, and every opening of a test file. The
 * report is made from this file and from nothing else, and a run whose line is there is done, on
 * whichever machine that was.
 */
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { DotaError } from '../protocol/errors';
import { runFileError, writeFileAtomic } from '../runs/atomicFile';
import { designHash, type TestHashes } from './design';
import type { PlannedRun } from './plan';
import { studyRecordSchema, type StudyRecord } from './record';
import type { StudyConfig } from './studyConfig';

const openingSchema = z.object({
  kind: z.literal('test-opened'),
  key: z.string().min(1),
  /** A key of the study's tasks. */
  task: z.string().min(1),
  /** SHA-256 of the test file. */
  dataHash: z.string(),
  /** Hash of the task's design at that time. */
  design: z.string(),
  at: z.string(),
});
const lineSchema = z.discriminatedUnion('kind', [studyRecordSchema, openingSchema]);

export type TestOpening = z.output<typeof openingSchema>;

/** A planned run, as its test score is found. */
type RunOnTask = Pick<PlannedRun, 'key' | 'task'>;

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
   * The test score of a run, where it counts: its opening is on record, under the task's design as it is.
   * A score from before the design changed is none of the changed study's, even where the run is the same.
   */
  testScore(study: StudyConfig, { key, task }: RunOnTask): StudyRecord['test'] {
    const test = this.#records.get(key)?.test;
    if (test === undefined) return undefined;
    const design = designHash(study, task);
    const counts = this.#openings.some(
      (opening) =>
        opening.key === key && opening.dataHash === test.dataHash && opening.design === design,
    );
    return counts ? test : undefined;
  }

  /**
   * Records, before a test file is opened for a run, that it is. The first opening fixes the task's
   * design: a study that was changed after its test results were seen would be choosing by them.
   * @throws DotaError `study.changed`; `internal` for a run that has its test score
   */
  async openTest(study: StudyConfig, { key, task }: RunOnTask, dataHash: string): Promise<void> {
    this.checkDesign(study, new Map([[task, dataHash]]));
    if (this.testScore(study, { key, task }) !== undefined) {
      throw new DotaError('internal', `Run ${key} has its test score and gets no second one.`);
    }
    const at = new Date().toISOString();
    const design = designHash(study, task);
    this.#openings.push({ kind: 'test-opened', key, task, dataHash, design, at });
    await this.#write();
  }

  /**
   * By the files' contents, whatever they and the task are called. Another file is a fresh split, which
   * a changed design may open.
   * @throws DotaError `study.changed` when a task's test file was opened under another design
   */
  checkDesign(study: StudyConfig, tests: TestHashes): void {
    const designs = new Map(
      Object.keys(study.tasks).map((task) => [task, designHash(study, task)]),
    );
    const current = new Set(designs.values());
    for (const [task, dataHash] of tests) {
      const openings = this.#openings.filter((opening) => opening.dataHash === dataHash);
      if (openings.some(({ design }) => design === designs.get(task))) continue;
      // Tasks may share a test file: that another one has used it as it stands is no change.
      const other = openings.find(({ design }) => !current.has(design));
      if (other === undefined) continue;
      throw new DotaError(
        'study.changed',
        `What decides the runs on the task "${task}" was changed after its test split had been used (${other.at}).`,
        {
          where: this.file,
          next: 'Go back to that design, or give the task a fresh test split, of which nothing has been seen.',
        },
      );
    }
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
