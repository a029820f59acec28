/**
 * Learning-rate schedules as pure functions of the step, with the formulas of Hugging Face's
 * `get_scheduler`: a resumed run needs no scheduler state.
 */
export type SchedulerType = 'linear' | 'cosine' | 'constant';

export interface Schedule {
  type: SchedulerType;
  /** Peak learning rate. */
  learningRate: number;
  /** Steps of linear warm-up; below 1 a share of all steps (rounded up, as the Trainer does). */
  warmupSteps: number;
  totalSteps: number;
}

/** Warm-up in whole steps. */
export function warmupStepCount(schedule: Schedule): number {
  const { warmupSteps, totalSteps } = schedule;
  return warmupSteps < 1 ? Math.ceil(warmupSteps * totalSteps) : Math.floor(warmupSteps);
}

/**
 * The learning rate of an optimizer step.
 * @param step from 1. The Trainer's first step uses the multiplier of step 0, so the first step of
 *   a warm-up has rate 0 and the last step of a decay is not quite 0.
 */
export function learningRateAt(schedule: Schedule, step: number): number {
  const done = step - 1;
  const warmup = warmupStepCount(schedule);
  if (done < warmup) return (schedule.learningRate * done) / Math.max(1, warmup);
  const decaySteps = Math.max(1, schedule.totalSteps - warmup);
  const progress = Math.min(1, (done - warmup) / decaySteps);
  switch (schedule.type) {
    case 'constant':
      return schedule.learningRate;
    case 'linear':
      return schedule.learningRate * (1 - progress);
    case 'cosine':
      return schedule.learningRate * 0.5 * (1 + Math.cos(Math.PI * progress));
  }
}
