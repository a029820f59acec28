/** Whose answers the Try Prompt panel shows. */
import { isObject, isString } from '../protocol/guards';

export interface PromptTarget {
  name: string;
  /** A model folder, or a run that stands for its base model. */
  model: string;
  /** Runs whose adapters answer beside the base. */
  runs: readonly PromptRun[];
}

export interface PromptRun {
  name: string;
  key: string;
}

/** Answers side by side; more could not be read. */
export const mostRuns = 4;

export function isPromptTarget(value: unknown): value is PromptTarget {
  return (
    isObject(value) &&
    isString(value.name) &&
    isString(value.model) &&
    Array.isArray(value.runs) &&
    value.runs.length <= mostRuns &&
    value.runs.every((run) => isObject(run) && isString(run.name) && isString(run.key))
  );
}

/** Titles of the answers. */
export function sidesOf({ name, runs }: PromptTarget): string[] {
  return runs.length === 0 ? [name] : ['Base model', ...runs.map((run) => run.name)];
}

export function adaptersOf({ runs }: PromptTarget): (string | null)[] {
  return [null, ...runs.map(({ key }) => key)];
}

/** With another run; the same where it is there, or where there are too many. */
export function withRun(target: PromptTarget, run: PromptRun): PromptTarget {
  const known = target.runs.some(({ key }) => key === run.key);
  if (known || target.runs.length >= mostRuns) return target;
  return { ...target, runs: [...target.runs, run] };
}

/** @param side index of the answer; the base model's stays */
export function withoutSide(target: PromptTarget, side: number): PromptTarget {
  return side < 1 ? target : { ...target, runs: target.runs.filter((_, i) => i !== side - 1) };
}
