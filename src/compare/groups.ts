/** Runs that differ in the seed only stand for one thing: a group, shown as mean and spread. */
import type { CompareRun } from '../protocol/comparison';
import { summarize, type Summary } from './statistics';

export type CurveAxis = 'step' | 'tokens' | 'elapsed';

export interface RunGroup {
  key: string;
  label: string;
  method: string;
  runs: readonly CompareRun[];
  /** Settings in which the groups differ, as JSON; absent keys are ''. */
  differing: Readonly<Record<string, string>>;
  parameters: number | undefined;
  best: Summary | undefined;
  last: Summary | undefined;
  peakRssMb: Summary | undefined;
  tokensPerSecond: Summary | undefined;
  /** Answers of all seeds together. */
  accuracy: { split: string; correct: number; total: number; seeds: Summary } | undefined;
}

/** In the order of the first run of each. */
export function groupRuns(runs: readonly CompareRun[]): RunGroup[] {
  const groups = new Map<string, CompareRun[]>();
  for (const run of runs) {
    const settings = Object.entries(run.settings).sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([settings, run.facts.baseWeights]);
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  const members = [...groups.values()];
  const keys = differingKeys(members);
  const labels = labelsOf(members, keys);
  return [...groups].map(([key, list], i) => {
    const [first] = list as [CompareRun];
    return {
      key,
      label: labels[i] ?? first.name,
      method: first.method,
      runs: list,
      differing: Object.fromEntries(keys.map((k) => [k, first.settings[k] ?? ''])),
      parameters: first.parameters,
      best: summaryOf(list, (run) => run.best?.loss),
      last: summaryOf(list, (run) => run.last),
      peakRssMb: summaryOf(list, (run) => run.peakRssMb),
      tokensPerSecond: summaryOf(list, (run) => run.tokensPerSecond),
      accuracy: accuracyOf(list),
    };
  });
}

function differingKeys(groups: readonly (readonly CompareRun[])[]): string[] {
  const keys = new Set(groups.flatMap(([run]) => Object.keys(run?.settings ?? {})));
  return [...keys].filter(
    (key) => new Set(groups.map(([run]) => run?.settings[key] ?? '')).size > 1,
  );
}

/** The method, with the settings that tell groups of one method apart. */
function labelsOf(groups: readonly CompareRun[][], keys: readonly string[]): string[] {
  return groups.map(([run]) => {
    if (run === undefined) return '';
    const same = groups.filter(([other]) => other?.method === run.method);
    const own = keys.filter((k) => new Set(same.map(([o]) => o?.settings[k] ?? '')).size > 1);
    const parts = own.map((k) => `${k.split('.').at(-1) ?? k} ${unquote(run.settings[k] ?? '-')}`);
    return [run.method, ...parts].join(', ');
  });
}

export function unquote(json: string): string {
  return /^"[^"\\]*"$/.test(json) ? json.slice(1, -1) : json;
}

function summaryOf(
  runs: readonly CompareRun[],
  value: (run: CompareRun) => number | undefined,
): Summary | undefined {
  const values = runs.map(value).filter((v) => v !== undefined);
  return values.length === 0 ? undefined : summarize(values);
}

function accuracyOf(runs: readonly CompareRun[]): RunGroup['accuracy'] {
  const scored = runs.flatMap(({ accuracy }) => accuracy ?? []);
  const [first] = scored;
  // Of two splits there is no one number.
  if (first === undefined || scored.some(({ split }) => split !== first.split)) return undefined;
  return {
    split: first.split,
    correct: scored.reduce((sum, { correct }) => sum + correct, 0),
    total: scored.reduce((sum, { total }) => sum + total, 0),
    seeds: summarize(scored.map(({ correct, total }) => correct / total)),
  };
}

export interface MeanCurve {
  x: number[];
  mean: number[];
  /** Mean minus and plus the standard deviation over seeds; the mean itself for one seed. */
  low: number[];
  high: number[];
}

/**
 * Mean over the seeds at the k-th evaluation of each, as far as all have one; x is the mean as well
 * (seeds see other tokens and take other times for the same steps).
 */
export function meanCurve(runs: readonly CompareRun[], axis: CurveAxis): MeanCurve {
  const length = Math.min(...runs.map(({ curve }) => curve.loss.length));
  const curve: MeanCurve = { x: [], mean: [], low: [], high: [] };
  for (let k = 0; k < length; k++) {
    const { mean, sd } = summarize(runs.map((run) => run.curve.loss[k] ?? NaN));
    if (!Number.isFinite(mean)) continue;
    const spread = Number.isNaN(sd) ? 0 : sd;
    curve.x.push(summarize(runs.map((run) => run.curve[axis][k] ?? NaN)).mean);
    curve.mean.push(mean);
    curve.low.push(mean - spread);
    curve.high.push(mean + spread);
  }
  return curve;
}

/** Groups that no other one beats in both parameters and loss. */
export function paretoFront(groups: readonly RunGroup[]): RunGroup[] {
  const points = groups.filter((g) => g.parameters !== undefined && g.best !== undefined);
  const value = (g: RunGroup): [number, number] => [g.parameters ?? NaN, g.best?.mean ?? NaN];
  return points
    .filter((g) => {
      const [p, l] = value(g);
      return !points.some((other) => {
        const [q, m] = value(other);
        return q <= p && m <= l && (q < p || m < l);
      });
    })
    .sort((a, b) => (a.parameters ?? 0) - (b.parameters ?? 0));
}
