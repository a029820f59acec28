/** `dota tasks`: the sets of the protocol, where each comes from, and what a folder has of them. */
import { checkTasks } from '../evaluation/sets';
import { printJson, printLine, table } from './output';

/** @throws DotaError `file.unreadable` */
export async function runTasks(
  folder: string | undefined,
  options: { json?: boolean },
): Promise<void> {
  const tasks = await checkTasks(folder);
  if (options.json === true) {
    printJson({ folder: folder ?? null, tasks });
    return;
  }
  const status = (task: (typeof tasks)[number]): string => {
    if (folder === undefined) return task.source;
    if (task.file === null) return `not found; from ${task.source}`;
    return task.problem === null ? `ok: ${task.file}` : `${task.file}: ${task.problem}`;
  };
  printLine(
    table([
      ['set', 'name', 'group', 'rows', folder === undefined ? 'source' : 'found'],
      ...tasks.map((task) => [task.task, task.title, task.group, String(task.rows), status(task)]),
    ]),
  );
  printLine('Put each file at <folder>/<set>/test.json, as in the repository it comes from.');
}
