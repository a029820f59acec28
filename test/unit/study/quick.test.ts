import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StudyConfigInput } from '../../../src/study/studyConfig';
import { runCli, startCli, until } from '../trainer/cliHarness';
import { writeTinyModel } from '../trainer/tinyModel';

/**
 * The study's machinery end to end on a model that trains in a moment: interrupted, continued, skipped,
 * scored, reported. `npm run study -- --quick` is the same on the sample with every method.
 */
describe('dota study', () => {
  let folder: string;
  let file: string;
  const study: StudyConfigInput = {
    name: 'Tiny study',
    model: 'model',
    methods: { DoTA: { method: 'dota' }, LoRA: { method: 'lora' } },
    tasks: {
      t: {
        train: 'train.jsonl',
        validation: 'validation.jsonl',
        test: 'test.jsonl',
        max_length: 32,
      },
    },
    budgets: [400],
    seeds: [0, 1],
    learning_rates: [0.001, 0.01],
    training: { max_steps: 4, per_device_train_batch_size: 2, eval_steps: 2 },
    claims: [{ claim: 'DoTA beats LoRA', lower: 'DoTA', higher: 'LoRA' }],
    device: 'cpu',
    threads: 1,
    output_dir: 'study',
    results: 'committed/results.jsonl',
  };

  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'dota-study-'));
    await writeTinyModel(path.join(folder, 'model'));
    for (const split of ['train', 'validation', 'test']) {
      const rows = Array.from({ length: 6 }, (_, i) =>
        JSON.stringify({ prompt: `${split} ${i} `, completion: String(i) }),
      );
      writeFileSync(path.join(folder, `${split}.jsonl`), `${rows.join('\n')}\n`);
    }
    file = path.join(folder, 'tiny.dota-study.json');
    writeFileSync(file, JSON.stringify(study));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  interface Line {
    kind: string;
    key: string;
    stage?: string;
    test?: { total: number };
  }
  const lines = (kind: string, at = folder): Line[] =>
    readFileSync(path.join(at, 'committed', 'results.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line)
      .filter((line) => line.kind === kind);
  const runs = (at = folder): string[] => {
    try {
      return readdirSync(path.join(at, 'study', 'runs')).filter((n) => !n.startsWith('.'));
    } catch {
      return [];
    }
  };

  it('lists its runs and their time without running any', async () => {
    const { code, json } = await runCli(
      ['study', file, '--dry-run', '--jobs', '1', '--json'],
      folder,
    );
    expect(code).toBe(0);
    // Four of the sweep, of which two are main runs as well, and two of the other seed.
    expect(json).toMatchObject({ done: 0, total: 6, jobs: 1, measured: false });
    expect(runs()).toEqual([]);
  });

  it('can be interrupted with runs side by side, and goes on where it was', async () => {
    const { child, done } = startCli(['study', file, '--jobs', '2', '--json'], folder);
    await until('a third run', () => runs().length >= 3);
    child.kill('SIGINT');
    expect((await done).code).toBe(75);
    const before = runs();
    const { code, json } = await runCli(['study', file, '--jobs', '2', '--json'], folder);
    expect(code).toBe(0);
    expect(json).toMatchObject({ done: 6, total: 6, failed: 0, interrupted: false });
    expect(runs()).toHaveLength(6);
    expect(runs()).toEqual(expect.arrayContaining(before));
  });

  it('has touched the test split once for each main run, and skips what is done', async () => {
    expect(lines('run')).toHaveLength(6);
    const scored = lines('run').filter(({ test }) => test !== undefined);
    expect(scored.map(({ test }) => test?.total)).toEqual([6, 6, 6, 6]);
    const opened = lines('test-opened').map(({ key }) => key);
    expect([...opened].sort()).toEqual(scored.map(({ key }) => key).sort());
    const before = readFileSync(path.join(folder, 'committed', 'results.jsonl'), 'utf8');
    const { json } = await runCli(['study', file, '--json'], folder);
    expect(json).toMatchObject({ done: 6, testScored: 0 });
    expect(readFileSync(path.join(folder, 'committed', 'results.jsonl'), 'utf8')).toBe(before);
    expect(runs()).toHaveLength(6);
  });

  it('goes on from its results alone in another place', async () => {
    const other = mkdtempSync(path.join(os.tmpdir(), 'dota-study-'));
    try {
      for (const name of readdirSync(folder).filter((n) => n !== 'study')) {
        cpSync(path.join(folder, name), path.join(other, name), { recursive: true });
      }
      const copy = path.join(other, path.basename(file));
      // One main run is lost with the machine that it was to be done on.
      const results = path.join(other, 'committed', 'results.jsonl');
      const kept = readFileSync(results, 'utf8').trimEnd().split('\n').slice(0, -1);
      writeFileSync(results, `${kept.join('\n')}\n`);
      const { code, json } = await runCli(['study', copy, '--json'], other);
      expect(code).toBe(0);
      expect(json).toMatchObject({ done: 6, total: 6, testScored: 1 });
      expect(runs(other)).toHaveLength(1);
      const measured = ({ key, test }: Line): unknown => ({ key, test });
      expect(lines('run', other).map(measured)).toEqual(lines('run').map(measured));
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  });

  it('compares its runs as one guard-checked table', async () => {
    const root = path.join(folder, 'study', 'runs');
    const { code, json } = await runCli(['compare', ...runs(), '--root', root, '--json'], folder);
    expect(code).toBe(0);
    expect(json?.problems).toEqual([]);
  });

  it('reports from its results alone, and decides no claim on two seeds', async () => {
    const out = path.join(folder, 'docs');
    const { code } = await runCli(['study', file, '--report', out], folder);
    expect(code).toBe(0);
    const text = readFileSync(path.join(out, 'study.md'), 'utf8');
    expect(text).toContain('Complete: 6 runs');
    expect(text).toContain('Accuracy % (test)');
    // Of two rates, each is an edge.
    expect(text).toContain('lies on the edge of the grid');
    expect(text).toMatch(/DoTA beats LoRA \| t \| [+-][\d.]+ ± [\d.]+ \| 2 \| undecided: 2 seeds/);
    expect(readdirSync(path.join(out, 'study')).sort()).toEqual(['t-curves.svg', 't-pareto.svg']);
  });

  it('refuses to change the design after the test split was used', async () => {
    const changed = path.join(folder, 'changed.dota-study.json');
    writeFileSync(changed, JSON.stringify({ ...study, learning_rates: [0.001, 0.02] }));
    for (const fresh of [[], ['--fresh']]) {
      const { code, json } = await runCli(['study', changed, '--json', ...fresh], folder);
      expect(code).toBe(65);
      expect(json).toMatchObject({ error: { code: 'study.changed' } });
      expect(lines('run')).toHaveLength(6);
    }
  });

  it('says in its report that it is incomplete', async () => {
    const more = path.join(folder, 'more.dota-study.json');
    writeFileSync(more, JSON.stringify({ ...study, seeds: [0, 1, 2] }));
    const out = path.join(folder, 'more');
    await runCli(['study', more, '--report', out], folder);
    const text = readFileSync(path.join(out, 'study.md'), 'utf8');
    // With the seeds the design has changed: the test scores from before do not count.
    expect(text).toContain('This study is incomplete: 2 of 8 planned runs');
    expect(text).toContain('a fresh split is needed; its scores are not shown');
    expect(text).not.toContain('Accuracy % (test)');
    expect(readFileSync(path.join(out, 'study', 't-curves.svg'), 'utf8')).toContain('incomplete');
  });

  it('leaves the runs of a base model without weights, and does them when it has some', async () => {
    cpSync(path.join(folder, 'model'), path.join(folder, 'other'), { recursive: true });
    const weights = path.join(folder, 'other', 'model.safetensors');
    rmSync(weights);
    const ablated = path.join(folder, 'ablated.dota-study.json');
    const ablations: StudyConfigInput['ablations'] = [
      { name: 'model', method: 'DoTA', seeds: [0], variants: { other: { model: 'other' } } },
    ];
    const places = { output_dir: 'ablated', results: 'ablated/results.jsonl' };
    writeFileSync(
      ablated,
      JSON.stringify({ ...study, ...places, seeds: [0], learning_rates: [0.01], ablations }),
    );
    const first = await runCli(['study', ablated, '--json'], folder);
    expect(first.code).toBe(65);
    expect(first.json).toMatchObject({ done: 2, total: 3, failed: 0, waiting: 1 });
    const listed = await runCli(['study', ablated, '--dry-run', '--json'], folder);
    const waits = (listed.json?.['runs'] as { waits_for: string | null }[]).map((r) => r.waits_for);
    expect(waits).toEqual([null, null, path.join(folder, 'other')]);
    cpSync(path.join(folder, 'model', 'model.safetensors'), weights);
    const second = await runCli(['study', ablated, '--json'], folder);
    expect(second.code).toBe(0);
    expect(second.json).toMatchObject({ done: 3, total: 3, waiting: 0 });
  });

  it('repeats everything from the seeds when asked to, and remembers the test split', async () => {
    const before = lines('run').map(({ key, test }) => ({ key, test }));
    const old = runs();
    const { code, json } = await runCli(['study', file, '--fresh', '--json'], folder);
    expect(code).toBe(0);
    expect(json).toMatchObject({ done: 6, testScored: 4 });
    expect(runs().filter((id) => old.includes(id))).toEqual([]);
    const after = lines('run').map(({ key, test }) => ({ key, test }));
    expect(after).toEqual(expect.arrayContaining(before));
    expect(lines('test-opened')).toHaveLength(8);
  });
});
