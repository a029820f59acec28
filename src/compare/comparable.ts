/**
 * The guard of every comparison: which facts differ between runs, and what that means for the numbers
 * beside each other.
 */
import { isObject } from '../protocol/guards';
import type { ComparisonFacts } from '../protocol/comparison';
import type { RunManifest } from '../protocol/runFiles';

/**
 * `refuse`: the numbers are of different quantities (another evaluation set, mask, tokenizer, ...).
 * `flag`: the same quantity after unequal chances (other training data, budget, base weights).
 */
export type Severity = 'refuse' | 'flag';

export interface ComparisonProblem {
  fact: keyof ComparisonFacts;
  severity: Severity;
  /** What differs, for people. */
  label: string;
  /** Each value with the runs that have it, the most frequent first. */
  values: { value: string; runs: string[] }[];
}

const rules: Readonly<Record<keyof ComparisonFacts, { severity: Severity; label: string }>> = {
  validationData: { severity: 'refuse', label: 'validation data' },
  evaluationData: { severity: 'refuse', label: 'evaluation set' },
  split: { severity: 'refuse', label: 'split of the data' },
  lossMask: { severity: 'refuse', label: 'loss mask' },
  template: { severity: 'refuse', label: 'template' },
  sequences: { severity: 'refuse', label: 'length, truncation or packing' },
  tokenizer: { severity: 'refuse', label: 'tokenizer' },
  baseWeights: { severity: 'flag', label: 'base weights' },
  trainData: { severity: 'flag', label: 'training data' },
  sequencesSeen: { severity: 'flag', label: 'training budget (sequences)' },
  tokens: { severity: 'flag', label: 'token budget' },
};

/**
 * Runs of one budget draw their batches by their seeds, so that their token counts differ by a few in
 * a hundred where the number of sequences is the same.
 */
const tokenTolerance = 0.05;

/** Every fact in which the runs differ, refusals first; empty when they may be compared. */
export function comparisonProblems(
  runs: readonly { id: string; facts: ComparisonFacts }[],
): ComparisonProblem[] {
  const keys = Object.keys(rules) as (keyof ComparisonFacts)[];
  return keys.flatMap((fact): ComparisonProblem[] => {
    const byValue = new Map<string, string[]>();
    for (const { id, facts } of runs) {
      const value = String(facts[fact]);
      byValue.set(value, [...(byValue.get(value) ?? []), id]);
    }
    if (byValue.size < 2 || (fact === 'tokens' && withinTolerance(runs))) return [];
    const values = [...byValue]
      .map(([value, ids]) => ({ value: value === '' ? 'not recorded' : value, runs: ids }))
      .sort((a, b) => b.runs.length - a.runs.length);
    return [{ fact, ...rules[fact], values }];
  });
}

/** A run that is not at its end has no token count to hold against another's. */
function withinTolerance(runs: readonly { facts: ComparisonFacts }[]): boolean {
  const counts = runs.map(({ facts }) => facts.tokens).filter((tokens) => tokens > 0);
  if (counts.length < 2) return true;
  return Math.max(...counts) - Math.min(...counts) <= tokenTolerance * Math.max(...counts);
}

/** One line a cause, e.g. `validation data differs: 3 runs 1f3a9c…, 1 run 77b0e2… (20261124-…)`. */
export function describeProblem({ label, values }: ComparisonProblem): string {
  const parts = values.map(({ value, runs }, i) => {
    const short = /^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 12)}…` : value;
    const names = i === 0 ? '' : ` (${runs.join(', ')})`;
    return `${runs.length} run${runs.length === 1 ? '' : 's'} with ${short}${names}`;
  });
  return `${label} differs: ${parts.join('; ')}`;
}

/** @param evaluationData hash of the file that an accuracy beside the manifest is of */
export function comparisonFacts(manifest: RunManifest, evaluationData?: string): ComparisonFacts {
  const { fingerprint, progress } = manifest;
  const config = isObject(manifest.config) ? manifest.config : {};
  const data = isObject(config.data) ? config.data : {};
  const training = isObject(config.training) ? config.training : {};
  const [lossMask = '', template = '', ...sequences] = fingerprint?.dataPolicy.split('|') ?? [];
  const number = (value: unknown, absent: number): number =>
    typeof value === 'number' ? value : absent;
  const perStep =
    number(training.per_device_train_batch_size, 0) *
    number(training.gradient_accumulation_steps, 1);
  return {
    baseWeights: fingerprint?.baseWeights ?? '',
    tokenizer: fingerprint?.tokenizer ?? '',
    trainData: fingerprint?.trainData ?? '',
    validationData: fingerprint?.validationData ?? '',
    split:
      typeof data.validation === 'string'
        ? 'file'
        : `${String(data.validation_split)} of the training file, seed ${String(training.seed)}`,
    lossMask,
    template,
    sequences: sequences.join('|'),
    evaluationData: evaluationData ?? fingerprint?.evaluationData ?? '',
    sequencesSeen: (progress?.totalSteps ?? 0) * perStep,
    tokens: manifest.state === 'finished' ? (progress?.tokens ?? 0) : 0,
  };
}
