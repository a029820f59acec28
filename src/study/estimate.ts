/** How long a study will take, from the runs that are done. */
import type { PlannedRun } from './plan';

export interface TimedRun {
  run: PlannedRun;
  seconds: number;
}

/** Additions and multiplications a second that a training step gets out of one machine, roughly. */
const assumedRate = 3e10;

/**
 * Seconds that a run will take: the mean of the done runs most like it (same method and task, then
 * same method, then any), scaled by the steps and by the model's size; before the first one, 6
 * operations a parameter and token.
 * @param parametersOf size of a run's model
 */
export function estimateSeconds(
  run: PlannedRun,
  done: readonly TimedRun[],
  parametersOf: (run: PlannedRun) => number,
): number {
  const work = (planned: PlannedRun): number =>
    Math.max(1, planned.config.training.max_steps) * Math.max(1, parametersOf(planned));
  const alike = [
    (t: TimedRun) => t.run.method === run.method && t.run.task === run.task,
    (t: TimedRun) => t.run.method === run.method,
    () => true,
  ]
    .map((filter) => done.filter(filter))
    .find((list) => list.length > 0);
  if (alike !== undefined) {
    const perWork = alike.map(({ run: other, seconds }) => seconds / work(other));
    return (work(run) * perWork.reduce((sum, s) => sum + s, 0)) / perWork.length;
  }
  const { training, data } = run.config;
  // Half of the longest sequence is taken as the usual one.
  const tokens =
    (training.per_device_train_batch_size *
      training.gradient_accumulation_steps *
      data.max_length) /
    2;
  return (6 * work(run) * tokens) / assumedRate;
}
