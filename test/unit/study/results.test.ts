import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CompareRun } from '../../../src/protocol/comparison';
import { planMain, planSweep, type PlannedRun } from '../../../src/study/plan';
import { recordOf, type StudyRecord } from '../../../src/study/record';
import { studyReport } from '../../../src/study/report';
import { isDone, readStudy } from '../../../src/study/results';
import { ResultsFile } from '../../../src/study/resultsFile';
import { studyConfigSchema } from '../../../src/study/studyConfig';

const study = studyConfigSchema.parse({
  name: 'Test',
  methods: { A: { method: 'dota', adapter: { r: 2 } }, B: { method: 'lora', adapter: { r: 2 } } },
  tasks: { t: { train: 'train', validation: 'validation', test: 'test' } },
  seeds: [0, 1],
  learning_rates: [0.01, 0.1],
});
const context = { models: new Map(), resolve: (p: string) => `/abs/${p}` };
const sweep = planSweep(study, context);
const rates = new Map([
  ['A', 0.01],
  ['B', 0.1],
]);
const main = planMain(study, context, rates);

/** A finished run that lost `loss`. */
function compared(planned: PlannedRun, loss: number): CompareRun {
  return {
    id: `run-${planned.key.slice(0, 6)}`,
    name: 'x',
    state: 'finished',
    method: planned.method,
    seed: planned.seed,
    settings: {},
    facts: {
      ...{ baseWeights: 'w', tokenizer: 't', trainData: 'd', validationData: 'v', split: 'file' },
      ...{ lossMask: 'completion', template: 'alpaca', sequences: '128', evaluationData: '' },
      ...{ sequencesSeen: 10, tokens: 100 },
    },
    curve: { step: [0, 5], tokens: [0, 100], elapsed: [0, 1.23456], loss: [3, loss] },
    best: { step: 5, loss },
    last: loss,
    parameters: 1000,
    seconds: 1.23456,
  };
}

function record(planned: PlannedRun, loss: number, scores: Partial<StudyRecord> = {}): StudyRecord {
  return { ...recordOf(planned, compared(planned, loss), 'finished', 2), ...scores };
}

const validation = { correct: 3, total: 4 };
const test = { correct: 1, total: 4, dataHash: 'hash of the test file' };

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-results-'));
  file = path.join(folder, 'deeper', 'results.jsonl');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The best rate of A is its first, that of B its second, as `rates` has it. */
async function swept(): Promise<ResultsFile> {
  const results = await ResultsFile.open(file);
  for (const run of sweep) {
    const good = run.learningRate === rates.get(run.method);
    await results.put(record(run, good ? 1 : 2));
  }
  return results;
}

/** Keeps a main run with both scores, as the runner does: the test file is opened first. */
async function score(results: ResultsFile, run: PlannedRun): Promise<void> {
  await results.openTest(study, run, test.dataHash);
  await results.put(record(run, 1, { validation, test }));
}

describe('the results of a study', () => {
  it('are all that a second machine needs: read back, they give the same study', async () => {
    const results = await swept();
    for (const run of main) await score(results, run);
    const elsewhere = { ...context, resolve: (p: string) => `/elsewhere/${p}` };
    const again = readStudy(study, elsewhere, await ResultsFile.open(file));
    const here = readStudy(study, context, results);
    expect(again).toMatchObject({ done: 6, total: 6, complete: true });
    expect(studyReport(again, 'figures')).toEqual(studyReport(here, 'figures'));
  });

  it('take less than 2 KB a run', async () => {
    const results = await swept();
    const [run] = main;
    const points = Array.from({ length: 9 }, (_, i) => i * 1.012345678901234);
    const long = compared(run!, 1);
    const hash = 'f'.repeat(64);
    const facts = { ...long.facts, baseWeights: hash, tokenizer: hash, trainData: hash };
    const curve = { step: points, tokens: points, elapsed: points, loss: points };
    await results.put({
      ...recordOf(run!, { ...long, facts, curve }, 'finished', 1),
      ...{ validation, test: { ...test, dataHash: hash } },
    });
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(2048);
  });

  it('keep a loss that left the numbers through the file', async () => {
    const results = await ResultsFile.open(file);
    const run = sweep[0]!;
    const lost = compared(run, NaN);
    delete lost.best;
    await results.put(recordOf(run, lost, 'diverged', 1));
    const again = await ResultsFile.open(file);
    expect(again.find(run.key)?.run.curve.loss).toEqual([3, NaN]);
    expect(isDone(study, run, again)).toBe(true);
  });

  it('written by several jobs at once hold all of them', async () => {
    const results = await ResultsFile.open(file);
    await Promise.all(sweep.map((run) => results.put(record(run, 1))));
    const again = await ResultsFile.open(file);
    expect(sweep.every(({ key }) => again.find(key) !== undefined)).toBe(true);
  });

  it('refuse a line that is none, naming it', async () => {
    await swept();
    writeFileSync(file, `${readFileSync(file, 'utf8')}{"kind":"run","key":"x"}\n`);
    await expect(ResultsFile.open(file)).rejects.toMatchObject({
      code: 'study.results',
      where: `${file}:5`,
    });
  });
});

describe('the test split', () => {
  it('leaves a main run undone until it is scored, and a sweep run alone', async () => {
    const results = await swept();
    const run = main[0]!;
    expect(sweep.every((r) => isDone(study, r, results))).toBe(true);
    // The same configuration as one of the sweep, but more is asked of it.
    expect(sweep.map(({ key }) => key)).toContain(run.key);
    expect(isDone(study, run, results)).toBe(false);
    await results.put(record(run, 1, { validation }));
    expect(isDone(study, run, results)).toBe(false);
    await score(results, run);
    expect(isDone(study, run, results)).toBe(true);
  });

  it('is never opened for a run that has its score', async () => {
    const results = await swept();
    await score(results, main[0]!);
    const again = await ResultsFile.open(file);
    await expect(again.openTest(study, main[0]!, test.dataHash)).rejects.toMatchObject({
      code: 'internal',
    });
    expect(again.openings).toHaveLength(1);
  });

  it('fixes the design, on another machine and after a fresh start as well', async () => {
    const results = await swept();
    await results.openTest(study, main[0]!, test.dataHash);
    const changed = { ...study, seeds: [0] };
    const again = await ResultsFile.open(file);
    await again.forgetRuns();
    const fresh = await ResultsFile.open(file);
    expect(fresh.find(main[0]!.key)).toBeUndefined();
    const tests = new Map([['t', test.dataHash]]);
    expect(() => {
      fresh.checkDesign(study, tests);
    }).not.toThrow();
    for (const known of [results, fresh]) {
      expect(() => {
        known.checkDesign(changed, tests);
      }).toThrow(/the task "t"/);
      await expect(
        known.openTest(changed, { key: 'x', task: 't' }, test.dataHash),
      ).rejects.toMatchObject({ code: 'study.changed' });
    }
  });

  it('fixes the design under whatever name the task and its file go', async () => {
    const results = await swept();
    await results.openTest(study, main[0]!, test.dataHash);
    const { t } = study.tasks;
    const renamed = { ...study, tasks: { other: { ...t!, test: 'elsewhere' } } };
    const tests = new Map([['other', test.dataHash]]);
    expect(() => {
      results.checkDesign(renamed, tests);
    }).not.toThrow();
    expect(() => {
      results.checkDesign({ ...renamed, seeds: [0] }, tests);
    }).toThrow(/the task "other"/);
  });

  it('may be changed for a fresh one with the design, and old scores are not taken over', async () => {
    const results = await swept();
    for (const run of main) await score(results, run);
    // The runs of the old seeds are the same.
    const changed = { ...study, seeds: [0, 1, 2] };
    const [run] = planMain(changed, context, rates);
    expect(run!.key).toBe(main[0]!.key);
    const fresh = 'hash of a fresh test file';
    results.checkDesign(changed, new Map([['t', fresh]]));
    expect(isDone(study, run!, results)).toBe(true);
    expect(isDone(changed, run!, results)).toBe(false);
    expect(readStudy(changed, context, results)).toMatchObject({ done: 2, total: 8 });
    await results.openTest(changed, run!, fresh);
    await results.put(record(run!, 1, { validation, test: { ...test, dataHash: fresh } }));
    expect(isDone(changed, run!, results)).toBe(true);
    // What is opened now is fixed by it, and the first design keeps its file.
    expect(() => {
      results.checkDesign(study, new Map([['t', fresh]]));
    }).toThrow(/changed/);
    results.checkDesign(study, new Map([['t', test.dataHash]]));
  });

  it('of one task stands when another is changed, and may serve two tasks', async () => {
    const { t } = study.tasks;
    const two = { ...study, tasks: { t: t!, u: { ...t!, train: 'other' } } };
    const results = await ResultsFile.open(file);
    for (const task of ['t', 'u']) {
      await results.openTest(two, { key: `run on ${task}`, task }, test.dataHash);
    }
    const tests = (hash: string): Map<string, string> =>
      new Map([
        ['t', test.dataHash],
        ['u', hash],
      ]);
    results.checkDesign(two, tests(test.dataHash));
    const longer = { ...two, tasks: { t: t!, u: { ...two.tasks.u, training: { max_steps: 9 } } } };
    expect(() => {
      results.checkDesign(longer, tests(test.dataHash));
    }).toThrow(/the task "u"/);
    results.checkDesign(longer, tests('hash of a fresh test file'));
    await results.openTest(longer, { key: 'another', task: 't' }, test.dataHash);
  });

  it('is not shown before all runs are done', async () => {
    const results = await swept();
    for (const run of main.slice(1)) await score(results, run);
    const before = readStudy(study, context, results);
    expect(before).toMatchObject({ done: 5, total: 6, complete: false });
    const splits = (all: typeof before): unknown[] =>
      all.main.map(({ run }) => run?.accuracy?.split);
    expect(splits(before)).toEqual([undefined, 'validation', 'validation', 'validation']);
    const text = studyReport(before, 'figures').markdown;
    expect(text).toContain('Accuracy % (validation)');
    expect(text).not.toContain('Accuracy % (test)');
    await score(results, main[0]!);
    const after = readStudy(study, context, results);
    expect(splits(after)).toEqual(['test', 'test', 'test', 'test']);
    expect(after.main[0]?.run?.facts.evaluationData).toBe(test.dataHash);
    expect(studyReport(after, 'figures').markdown).toContain('Accuracy % (test)');
  });
});
