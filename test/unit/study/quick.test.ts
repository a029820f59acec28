import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rmSync } from 'node:fs';
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

  const runs = (): string[] => {
    try {
      return readdirSync(path.join(folder, 'study', 'runs')).filter((n) => !n.startsWith('.'));
    } catch {
      return [];
    }
  };

  it('lists its runs and their time without running any', async () => {
    const { code, json } = await runCli(['study', file, '--dry-run', '--json'], folder);
    expect(code).toBe(0);
    expect(json).toMatchObject({ done: 0, total: 8, measured: false });
    expect(runs()).toEqual([]);
  });

  it('can be interrupted, and goes on where it was', async () => {
    const { child, done } = startCli(['study', file, '--json'], folder);
    await until(() => (runs().length >= 2 ? true : undefined), 'a second run');
    child.kill('SIGINT');
    expect((await done).code).toBe(75);
    const before = runs();
    const { code, json } = await runCli(['study', file, '--json'], folder);
    expect(code).toBe(0);
    // Four of the sweep, of which two are main runs as well, and two of the other seed.
    expect(json).toMatchObject({ done: 6, total: 6, failed: 0, interrupted: false, testScored: 4 });
    expect(runs()).toHaveLength(6);
    expect(runs()).toEqual(expect.arrayContaining(before));
  });

  it('skips what is done and touches the test split once', async () => {
    const ledger = (): string =>
      readFileSync(path.join(folder, 'study', 'test-ledger.jsonl'), 'utf8');
    const before = ledger();
    expect(before.trimEnd().split('\n')).toHaveLength(4);
    const { json } = await runCli(['study', file, '--json'], folder);
    expect(json).toMatchObject({ done: 6, testScored: 0 });
    expect(ledger()).toBe(before);
    expect(runs()).toHaveLength(6);
  });

  it('compares its runs as one guard-checked table', async () => {
    const root = path.join(folder, 'study', 'runs');
    const { code, json } = await runCli(['compare', ...runs(), '--root', root, '--json'], folder);
    expect(code).toBe(0);
    expect(json?.problems).toEqual([]);
  });

  it('reports from the disk alone, and decides no claim on two seeds', async () => {
    const out = path.join(folder, 'docs');
    const { code } = await runCli(['study', file, '--report', out], folder);
    expect(code).toBe(0);
    const text = readFileSync(path.join(out, 'study.md'), 'utf8');
    expect(text).toContain('Complete: 6 runs');
    // Of two rates, each is an edge.
    expect(text).toContain('lies on the edge of the grid');
    expect(text).toMatch(/DoTA beats LoRA \| t \| [+-][\d.]+ ± [\d.]+ \| 2 \| undecided: 2 seeds/);
    expect(readdirSync(path.join(out, 'study')).sort()).toEqual(['t-curves.svg', 't-pareto.svg']);
  });

  it('refuses to change the design after the test split was used', async () => {
    const changed = path.join(folder, 'changed.dota-study.json');
    writeFileSync(changed, JSON.stringify({ ...study, learning_rates: [0.001, 0.02] }));
    const { code, json } = await runCli(['study', changed, '--json'], folder);
    expect(code).toBe(65);
    expect(json).toMatchObject({ error: { code: 'study.changed' } });
  });

  it('says in its report that it is incomplete', async () => {
    const more = path.join(folder, 'more.dota-study.json');
    writeFileSync(more, JSON.stringify({ ...study, seeds: [0, 1, 2] }));
    const out = path.join(folder, 'more');
    await runCli(['study', more, '--report', out], folder);
    const text = readFileSync(path.join(out, 'study.md'), 'utf8');
    expect(text).toContain('This study is incomplete: 6 of 8 planned runs');
    expect(readFileSync(path.join(out, 'study', 't-curves.svg'), 'utf8')).toContain('incomplete');
  });
});
