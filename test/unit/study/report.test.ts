import { describe, expect, it } from 'vitest';
import type { CompareRun } from '../../../src/protocol/comparison';
import type { PlannedRun } from '../../../src/study/plan';
import { claimVerdicts } from '../../../src/study/report';
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
