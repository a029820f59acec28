import { describe, expect, it } from 'vitest';
import { runConfigSchema } from '../../../src/config/runConfig';
import { estimateSeconds } from '../../../src/study/estimate';
import type { PlannedRun } from '../../../src/study/plan';
import { defaultJobs } from '../../../src/trainer/study/jobs';
import { scoreIn, scoringCommand } from '../../../src/trainer/study/scoring';

const machine = { cores: 4, memory: 8e9 };

describe('runs side by side', () => {
  it('are as many as the cores serve, where each run has its number of threads', () => {
    expect(defaultJobs({ device: 'cpu', threads: 1 }, 1e6, machine)).toBe(4);
    expect(defaultJobs({ device: 'cpu', threads: 2 }, 1e6, machine)).toBe(2);
    expect(defaultJobs({ device: 'cpu', threads: 8 }, 1e6, machine)).toBe(1);
  });

  it('is one where a run takes all cores or a GPU', () => {
    expect(defaultJobs({ device: 'cpu', threads: 0 }, 1e6, machine)).toBe(1);
    expect(defaultJobs({ device: 'auto', threads: 1 }, 1e6, machine)).toBe(1);
  });

  it('are no more than half of the memory serves', () => {
    // 16 bytes a parameter: 1.6 GB each.
    expect(defaultJobs({ device: 'cpu', threads: 1 }, 1e8, machine)).toBe(2);
    expect(defaultJobs({ device: 'cpu', threads: 1 }, 7e9, machine)).toBe(1);
  });
});

describe('scoring', () => {
  it('merges the adapter where there is room for it, and asks the model as it is elsewhere', () => {
    expect(scoringCommand('run', 'file', 20, 1e6, 8e9)).toEqual([
      ...['evaluate', 'run', '--data', 'file', '--no-loss', '--num-beams', '1'],
      ...['--batch-size', '64', '--limit', '20'],
    ]);
    expect(scoringCommand('run', 'file', undefined, 7e9, 64e9)).toEqual([
      ...['evaluate', 'run', '--data', 'file', '--no-loss'],
    ]);
  });

  it('is read in either form, and not at all from anything else', () => {
    expect(scoreIn({ json: { correct: 3, total: 4 } })).toEqual({ correct: 3, total: 4 });
    expect(scoreIn({ json: { results: [{ correct: 1, total: 4 }] } })).toEqual({
      correct: 1,
      total: 4,
    });
    expect(scoreIn({ json: { error: {} } })).toBeUndefined();
    expect(scoreIn({ json: undefined })).toBeUndefined();
  });
});

describe('the time of a run', () => {
  const run = (method: string, task: string, model: string, steps: number): PlannedRun =>
    ({
      ...{ method, task },
      config: runConfigSchema.parse({
        model,
        data: { train: 't' },
        training: { max_steps: steps },
      }),
    }) as PlannedRun;
  const parametersOf = ({ config }: PlannedRun): number => (config.model === 'wide' ? 2e6 : 1e6);

  it('is that of the runs most like it, by steps and size of the model', () => {
    const done = [
      { run: run('A', 't', 'small', 100), seconds: 10 },
      { run: run('B', 't', 'small', 100), seconds: 50 },
    ];
    const of = (planned: PlannedRun): number => estimateSeconds(planned, done, parametersOf);
    expect(of(run('A', 't', 'small', 200))).toBeCloseTo(20, 9);
    expect(of(run('A', 'u', 'wide', 100))).toBeCloseTo(20, 9);
    expect(of(run('C', 't', 'small', 100))).toBeCloseTo(30, 9);
  });
});
