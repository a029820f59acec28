/**
 * A settled run as a study keeps it: all that the report and a later sitting need of it, without its
 * weights. Small enough to be committed, so that a study can go on on another machine.
 */
import * as z from 'zod';
import { withoutDefaults } from '../config/changedSettings';
import type { CompareRun } from '../protocol/comparison';
import { settingsOf } from '../runs/compareRuns';
import type { PlannedRun } from './plan';

const count = z.number().min(0);
/** JSON has no NaN: a loss that left the numbers is null. */
const loss = z
  .number()
  .nullable()
  .transform((value) => value ?? NaN);
const score = z.object({ correct: count, total: count.min(1) });
const facts = z.object({
  baseWeights: z.string(),
  tokenizer: z.string(),
  trainData: z.string(),
  validationData: z.string(),
  split: z.string(),
  lossMask: z.string(),
  template: z.string(),
  sequences: z.string(),
  evaluationData: z.string(),
  sequencesSeen: count,
  tokens: count,
});

export const studyRecordSchema = z.object({
  kind: z.literal('run'),
  key: z.string().min(1),
  stage: z.enum(['sweep', 'main', 'ablation']),
  /** A key of the study's methods; which ablation and variant, where it is one. */
  method: z.string(),
  label: z.string(),
  ablation: z.string().optional(),
  task: z.string(),
  /** What the configuration changes of the defaults, paths as the study writes them. */
  config: z.record(z.string(), z.unknown()),
  /** `diverged`: the loss left the numbers, and the same configuration would do so again. */
  outcome: z.enum(['finished', 'diverged']),
  /** Training and scoring. */
  seconds: count,
  run: z.object({
    id: z.string(),
    method: z.string(),
    seed: z.number(),
    facts,
    curve: z.object({
      step: z.array(count),
      tokens: z.array(count),
      elapsed: z.array(count),
      loss: z.array(loss),
    }),
    best: z.object({ step: count, loss: z.number() }).optional(),
    last: loss.optional(),
    parameters: count.optional(),
    peakRssMb: count.optional(),
    tokensPerSecond: count.optional(),
    seconds: count.optional(),
  }),
  validation: score.optional(),
  test: score.extend({ dataHash: z.string() }).optional(),
});

export type StudyRecord = z.output<typeof studyRecordSchema>;

/** @param run as it stands in its folder */
export function recordOf(
  planned: PlannedRun,
  run: CompareRun,
  outcome: StudyRecord['outcome'],
  seconds: number,
): StudyRecord {
  const { stage, key, method, label, ablation, task, declared } = planned;
  const { id, method: title, seed, facts: known, curve, best, last } = run;
  const { parameters, peakRssMb, tokensPerSecond } = run;
  return {
    ...{ kind: 'run', key, stage, method, label },
    ...(ablation === undefined ? {} : { ablation }),
    ...{ task, config: withoutDefaults(declared), outcome, seconds: rounded(seconds) },
    run: {
      ...{ id, method: title, seed, facts: known },
      curve: {
        step: [...curve.step],
        tokens: [...curve.tokens],
        elapsed: curve.elapsed.map(rounded),
        loss: [...curve.loss],
      },
      ...{ best, last, parameters, peakRssMb },
      ...(tokensPerSecond === undefined ? {} : { tokensPerSecond: rounded(tokensPerSecond) }),
      ...(run.seconds === undefined ? {} : { seconds: rounded(run.seconds) }),
    },
  };
}

/**
 * The run as comparisons see it.
 * @param test score on the test split, where it is to be shown; else that on the validation split is
 */
export function comparedRun(
  record: StudyRecord,
  planned: PlannedRun,
  test: StudyRecord['test'],
): CompareRun {
  const { run, outcome, validation } = record;
  const { best, last, parameters, peakRssMb, tokensPerSecond, seconds, ...rest } = run;
  const scored =
    test !== undefined
      ? { split: 'test' as const, ...test }
      : validation && {
          ...{ split: 'validation' as const, ...validation },
          dataHash: run.facts.validationData,
        };
  return {
    ...rest,
    name: planned.label,
    state: outcome === 'finished' ? 'finished' : 'failed',
    settings: settingsOf(planned.declared),
    facts: { ...run.facts, evaluationData: scored?.dataHash ?? '' },
    ...(best && { best }),
    ...(last !== undefined && { last }),
    ...(parameters !== undefined && { parameters }),
    ...(peakRssMb !== undefined && { peakRssMb }),
    ...(tokensPerSecond !== undefined && { tokensPerSecond }),
    ...(seconds !== undefined && { seconds }),
    ...(scored && {
      accuracy: { split: scored.split, correct: scored.correct, total: scored.total },
    }),
  };
}

/** To a thousandth: the clock of a busy machine says no more. */
function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
