/**
 * What a task's test split fixes once it was opened. It is told by task: a change of one task does not
 * touch the runs of another, whose test results stand.
 */
import { createHash } from 'node:crypto';
import { canonical, sweepTask, taskOf, trainingOf, without } from './plan';
import type { StudyConfig } from './studyConfig';

/** SHA-256 of the test file of each task that has one. */
export type TestHashes = ReadonlyMap<string, string>;

/**
 * Everything that decides which runs there are on a task: what the tasks share, the task's own data and
 * training, where the rates are swept, and the ablations on it. Names, claims and places may be changed,
 * so a task or a file under another name is the same design. The test file's path decides no run: its
 * contents tell one opening from another, by their hash.
 */
export function designHash(study: StudyConfig, task: string): string {
  const shared = without(study, [
    ...(['name', 'claims', 'output_dir', 'results', '$schema'] as const),
    // Of these only what bears on the task, below; the training as the task has it.
    ...(['tasks', 'training', 'sweep', 'ablations'] as const),
  ]);
  const design = {
    ...shared,
    task: runsOn(study, task),
    // The rates chosen there are those of every task.
    sweep: { seed: study.sweep.seed, task: runsOn(study, sweepTask(study)) },
    // They never open a test split, but what they say of a method is read beside its test scores.
    ablations: study.ablations
      .filter((ablation) => taskOf(study, ablation) === task)
      .map((ablation) => without(ablation, ['task'])),
  };
  return createHash('sha256').update(canonical(design)).digest('hex');
}

function runsOn(study: StudyConfig, task: string): object {
  const data = without(study.tasks[task] ?? {}, ['test', 'training']);
  return { data, training: trainingOf(study, task) };
}
