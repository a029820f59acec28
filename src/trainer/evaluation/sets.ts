/** Which files of a user's folder are sets of the protocol, and whether they look complete. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { readRows } from '../../data/readers/dataset';
import {
  evaluationTasks,
  findTask,
  sourceOf,
  taskIds,
  type EvaluationTask,
} from '../../evaluation/tasks';
import { DotaError } from '../../protocol/errors';

export interface FoundSet {
  task: EvaluationTask | undefined;
  /** Absolute. */
  file: string;
}

/**
 * Files to evaluate on. In a folder, those that a set's published layout or name tells:
 * `<set>/test.json` or `<set>.json` (any format that datasets have).
 * @param taskName overrides what the names tell
 * @throws DotaError `usage`, `file.missing`
 */
export async function findSets(
  given: readonly string[],
  taskName: string | undefined,
): Promise<FoundSet[]> {
  const forced = taskName === undefined ? undefined : requireTask(taskName);
  const found: FoundSet[] = [];
  for (const name of given) {
    const file = path.resolve(name);
    const info = await stat(file).catch(() => undefined);
    if (info === undefined) {
      throw new DotaError('file.missing', 'The test set does not exist.', {
        where: file,
        next: '"dota tasks" says how the files are named and where they come from.',
      });
    }
    if (info.isDirectory()) found.push(...(await setsInFolder(file)));
    else found.push({ task: forced ?? taskOfFile(file), file });
  }
  if (found.length > 0) return found;
  throw new DotaError('file.missing', 'No set of the protocol was found.', {
    where: given.join(', '),
    next: '"dota tasks" says how the files are named and where they come from.',
  });
}

/** Whether any of these is a folder, or a file that its name tells to be a set of the protocol. */
export async function namesSets(given: readonly string[]): Promise<boolean> {
  for (const name of given) {
    const file = path.resolve(name);
    const info = await stat(file).catch(() => undefined);
    if (info?.isDirectory() === true || taskOfFile(file) !== undefined) return true;
  }
  return false;
}

export function requireTask(name: string): EvaluationTask {
  const task = findTask(name);
  if (task !== undefined) return task;
  throw new DotaError('usage', `There is no task "${name}".`, {
    next: `Known: ${taskIds.join(', ')}.`,
  });
}

/** In the order of the papers' tables. */
async function setsInFolder(folder: string): Promise<FoundSet[]> {
  const names = await readdir(folder, { recursive: true });
  const files = names.sort().map((name) => path.join(folder, name));
  return evaluationTasks.flatMap((task) => {
    const file = files.find((candidate) => taskOfFile(candidate) === task);
    return file === undefined ? [] : [{ task, file }];
  });
}

/** The set that a file's name tells: `<set>/test.json`, `<set>.json` or `<set>.test.json`. */
export function taskOfFile(file: string): EvaluationTask | undefined {
  if (!/\.(json|jsonl|parquet|csv)$/i.test(file)) return undefined;
  const stem = path.basename(file, path.extname(file));
  if (stem.toLowerCase() === 'test') return findTask(path.basename(path.dirname(file)));
  return findTask(stem.replace(/\.test$/i, ''));
}

export interface TaskStatus {
  task: string;
  title: string;
  group: string;
  rows: number;
  source: string;
  /** null where none was found. */
  file: string | null;
  found_rows: number | null;
  problem: string | null;
}

/** What the protocol needs, and what a folder has of it. */
export async function checkTasks(folder: string | undefined): Promise<TaskStatus[]> {
  const found = folder === undefined ? [] : await setsInFolder(path.resolve(folder));
  return Promise.all(
    evaluationTasks.map(async (task): Promise<TaskStatus> => {
      const file = found.find((set) => set.task === task)?.file;
      const checked = file === undefined ? { rows: null, problem: null } : await check(task, file);
      return {
        task: task.id,
        title: task.title,
        group: task.group,
        rows: task.testRows,
        source: sourceOf(task),
        file: file ?? null,
        found_rows: checked.rows,
        problem: checked.problem,
      };
    }),
  );
}

async function check(
  task: EvaluationTask,
  file: string,
): Promise<{ rows: number | null; problem: string | null }> {
  let rows = 0;
  try {
    for await (const { row, line } of readRows(file)) {
      rows++;
      const missing = ['instruction', 'output', 'answer'].find((name) => !(name in row));
      if (missing !== undefined) return { rows, problem: `row ${line} has no field ${missing}` };
      const { rule } = task;
      const answer = String(row['answer']);
      if (rule.kind === 'label' && !rule.labels.includes(answer)) {
        return { rows, problem: `row ${line}: "${answer.slice(0, 40)}" is no answer of this set` };
      }
    }
  } catch (error) {
    return { rows: null, problem: error instanceof Error ? error.message : String(error) };
  }
  const wrong =
    rows === task.testRows ? null : `${rows} rows, the published set has ${task.testRows}`;
  return { rows, problem: wrong };
}
