/** Where things stand in a run folder, and which names may become paths at all. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { DotaError } from '../protocol/errors';

// No separator, no leading dot, nothing that any file system treats specially.
const idPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/;

export interface RunFolder {
  /** Absolute path of the run folder. */
  path: string;
  /** The folder's name. */
  id: string;
  manifest: string;
  journal: string;
  log: string;
  lock: string;
  command: string;
  notes: string;
  /** Results of `dota evaluate`. */
  evaluations: string;
  checkpoints: string;
  tensorboard: string;
}

/** The paths of a run. @param folder absolute run folder, e.g. `/w/.dota/runs/20260102-030405-ab12` */
export function runFolder(folder: string): RunFolder {
  const at = (name: string): string => path.join(folder, name);
  return {
    path: folder,
    id: path.basename(folder),
    manifest: at('run.json'),
    journal: at('metrics.jsonl'),
    log: at('log.txt'),
    lock: at('lock.json'),
    command: at('command.json'),
    notes: at('notes.md'),
    evaluations: at('evaluations.json'),
    checkpoints: at('checkpoints'),
    tensorboard: at('tensorboard'),
  };
}

export function isRunId(id: string): boolean {
  return idPattern.test(id);
}

/**
 * The folder of run `id` under `root`.
 * @throws DotaError `usage` when the id is no plain folder name
 */
export function runFolderById(root: string, id: string): RunFolder {
  if (!isRunId(id)) {
    throw new DotaError('usage', `"${id}" is not the name of a run.`, {
      next: 'Names have letters, digits, "-" and "_" only; "dota runs list" shows them.',
    });
  }
  return runFolder(path.join(path.resolve(root), id));
}

/** A new id: local time, so that names sort by age, and four random digits. */
export function newRunId(now: Date = new Date()): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  return `${date}-${time}-${randomBytes(2).toString('hex')}`;
}
