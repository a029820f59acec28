import { describe, expect, it } from 'vitest';
import type { CompareRun } from '../../../src/protocol/comparison';
import { designHash } from '../../../src/study/design';
import { planMain, planSweep, type PlannedRun } from '../../../src/study/plan';
import { claimVerdicts, studyReport } from '../../../src/study/report';
import { testText } from '../../../src/study/reportTest';
import type { StudyResults } from '../../../src/study/results';
import { studyConfigSchema } from '../../../src/study/studyConfig';

const study = studyConfigSchema.parse({
  name: 'Test',
  methods: { A: { method: 'dota' }, B: { method: 'lora' } },
  tasks: { t: { train: 'a', validation: 'b' } },
  seeds: [0, 1, 2],
  learning_rates: [1],
  claims: [{ claim: 'A beats B', lower: 'A', higher: 'B' }],
});

/** The verdict on `A beats B` where B's losses are 1 and A's are 1 plus the given differences. */
function verdict(differences: readonly number[]): string | undefined {
  const main = (['A', 'B'] as const).flatMap((method) =>
    differences.map((difference, seed) => ({
      planned: { stage: 'main', method, label: method, task: 't', seed } as PlannedRun,
      run: {
        state: 'finished',
        best: { step: 1, loss: method === 'A' ? 1 + difference : 1 },
      } as CompareRun,
      diverged: false,
    })),
  );
  const results: StudyResults = {
    ...{ study, sweep: [], main, rates: new Map(), openings: [] },
    ...{ done: main.length, total: main.length, complete: false },
  };
  return claimVerdicts(results)[0]?.verdicts[0]?.verdict;
}

describe('the verdict on a claim', () => {
  it('needs three seeds, three standard errors, and an interval without 0', () => {
    expect(verdict([-1, -1.01])).toContain('undecided: 2 seeds only');
    expect(verdict([-1, -1.1, -0.9])).toBe('holds');
    expect(verdict([1, 1.1, 0.9])).toContain('the reverse');
    expect(verdict([-1, 1, 0.5])).toBe('undecided');
    // 3.5 standard errors of 3 seeds, but t(2) = 4.3.
    expect(verdict([-0.5, -1, -1.5].map((d) => d - 0.0104))).toBe('undecided');
  });
});

describe('what tasks do not share', () => {
  const two = studyConfigSchema.parse({
    ...{ name: 'Test', methods: { A: { method: 'lora' } }, seeds: [0], learning_rates: [1] },
    tasks: {
      t: { train: 'a', validation: 'b', test: 'c' },
      u: { train: 'd', validation: 'e', test: 'f', training: { max_steps: 1000 } },
    },
    training: { max_steps: 400 },
  });
  const context = { models: new Map(), resolve: (p: string) => p };
  const resultsOf = (
    study: typeof two,
    openings: StudyResults['openings'] = [],
    complete = false,
  ): StudyResults => ({
    ...{ study, rates: new Map(), openings, done: 0, total: 0, complete },
    sweep: planSweep(study, context).map((planned) => ({
      ...{ planned, run: undefined, diverged: false },
    })),
    main: planMain(study, context, new Map([['A', 1]])).map((planned) => ({
      planned,
      run: {
        ...{ id: planned.task, name: 'A', state: 'finished', method: 'LoRA', seed: 0 },
        ...{ settings: {}, facts: {}, curve: { step: [0], tokens: [0], elapsed: [0], loss: [1] } },
        best: { step: 0, loss: 1 },
      } as unknown as CompareRun,
      diverged: false,
    })),
  });

  it('is said where they are trained otherwise, and of the rates, and nowhere else', () => {
    const { markdown } = studyReport(resultsOf(two), 'figures');
    expect(markdown.match(/The runs of this one: .*/g)).toEqual([
      'The runs of this one: `max_steps` 400.',
      'The runs of this one: `max_steps` 1000.',
    ]);
    expect(markdown).toContain('not made again for the other training of u.');
    const alike = studyConfigSchema.parse({
      ...two,
      tasks: { t: two.tasks['t'], u: two.tasks['t'] },
    });
    const same = studyReport(resultsOf(alike), 'figures').markdown;
    expect(same).not.toContain('The runs of this one');
    expect(same).not.toContain('not made again');
  });

  it('is said of the use of each test split, and of one that was replaced', () => {
    const before = { ...two, tasks: { ...two.tasks, u: { ...two.tasks['u']!, training: {} } } };
    const opened = (task: string, key: string, hash: string, study: typeof two, hour: number) => ({
      ...{ kind: 'test-opened' as const, task, key, dataHash: hash },
      ...{ design: designHash(study, task), at: `2026-01-01T0${hour}:00:00.000Z` },
    });
    const openings = [
      opened('t', 'key 1', 'hash of c', before, 1),
      opened('u', 'key 2', 'hash of f', before, 2),
      opened('u', 'key 2', 'hash of f', before, 3),
    ];
    const changed = testText(resultsOf(two, openings));
    expect(changed).toContain(
      '- t: its test split was opened for 1 run between 2026-01-01T01:00:00.000Z and 2026-01-01T01:00:00.000Z, once for each.',
    );
    expect(changed).toContain(
      '- u: its test split has not been used yet. An earlier test split of it was opened for 1 run between 2026-01-01T02:00:00.000Z and 2026-01-01T03:00:00.000Z, once for each, and 1 time again',
    );
    expect(changed).toContain('a fresh split is needed; its scores are not shown.');
    const fresh = testText(
      resultsOf(two, [...openings, opened('u', 'key 3', 'hash of another', two, 4)], true),
    );
    expect(fresh).toContain('- u: its test split was opened for 1 run between 2026-01-01T04:00');
    expect(fresh).toContain('under another design of the runs on this task.');
    expect(fresh).toContain('a fresh split was taken; its scores are not shown.');
    expect(testText(resultsOf(before, openings))).not.toContain('earlier');
    expect(testText(resultsOf(two))).toContain('None has been used yet.');
  });
});
