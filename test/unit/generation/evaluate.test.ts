/** `dota evaluate` by the protocol, on small sets written for this repository. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { taskIds } from '../../../src/evaluation/tasks';
import type { SetEvaluation, StoredEvaluation } from '../../../src/protocol/evaluation';
import { openGreedyAnswers } from '../../../src/trainer/evaluation/greedyAnswers';
import { generateGreedy } from '../../../src/trainer/generate';
import { loadCheckpoint, restoreEngine } from '../../../src/trainer/training/checkpointFiles';
import { buildEngine, endTokens, openModel } from '../../../src/trainer/training/prepareModel';
import { findTarget } from '../../../src/trainer/training/target';
import { runCli } from '../trainer/cliHarness';
import { tinyConfig, writeTinyWorkspace } from '../trainer/tinyModel';

const sets = path.resolve('test/fixtures/evaluation/sets');
let folder: string;
let run: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-evaluate-'));
  await writeTinyWorkspace(folder);
  // Ten different sums: enough steps to know some of them.
  const config = tinyConfig({
    adapter: { r: 16, target_modules: ['q_proj', 'v_proj', 'up_proj', 'down_proj'] },
    training: { max_steps: 120, num_train_epochs: 1, learning_rate: 0.02 },
  });
  writeFileSync(path.join(folder, 'sums.dota.json'), JSON.stringify(config));
  run = String((await dota(['train', 'sums.dota.json']))['run']);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function dota(args: readonly string[]): Promise<Record<string, unknown>> {
  const result = await runCli([...args, '--json'], folder);
  expect(result.code, result.stderr).toBe(0);
  return result.json!;
}

interface Output {
  set: string;
  adapter: string | null;
  row: number;
  response: string;
}

function outputsOf(file: string): Output[] {
  const lines = readFileSync(path.join(folder, file), 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Output);
}

/** The scripts' own expressions, written down again: nothing of the product takes part. */
function countsAsRight(set: string, response: string, answer: string): boolean {
  const labels: Record<string, RegExp> = {
    boolq: /true|false/,
    piqa: /solution1|solution2/,
    hellaswag: /ending1|ending2|ending3|ending4/,
    winogrande: /option1|option2/,
    AQuA: /[ABCDE]/,
  };
  if (['gsm8k', 'mawps', 'SVAMP', 'train.json'].includes(set)) {
    const numbers = response.replaceAll(',', '').match(/-?\d+\.?\d*/g) ?? [];
    return Math.abs(Number(numbers.at(-1) ?? NaN) - Number(answer)) <= 0.001;
  }
  return (labels[set] ?? /answer[1-5]/).exec(response)?.[0] === answer;
}

describe('greedy answers of a run', () => {
  it.each([
    ['dota', {}],
    ['dota', { load_in_4bit: true }],
    ['lora', {}],
    ['full', {}],
  ])('are those of the training engine: %s %j', async (method, quantization) => {
    const config = tinyConfig({
      method,
      quantization,
      adapter: { r: 16, target_modules: ['q_proj', 'v_proj', 'up_proj', 'down_proj'] },
      training: {
        max_steps: 40,
        num_train_epochs: 1,
        learning_rate: method === 'full' ? 0.003 : 0.02,
      },
    });
    writeFileSync(path.join(folder, 'greedy.dota.json'), JSON.stringify(config));
    const trained = String((await dota(['train', 'greedy.dota.json']))['run']);
    const target = await findTarget(trained, { root: folder, set: [], checkpoint: 'last' });
    const model = await openModel(target.config, target.directory);
    const { initialCores } = await loadCheckpoint(target.checkpoint!);
    const { engine } = await buildEngine(target.config, model, {
      shouldStop: () => false,
      initialCores,
    });
    await restoreEngine(target.checkpoint!, engine, { optimizer: false });
    const { answer, dispose } = await openGreedyAnswers(target, model);
    const text = ['1 + 2 =', '3 + 4 = 7. 5 + 1 =', '9'];
    const prompts = text.map((prompt) => model.tokenizer.encode(prompt));
    const eos = endTokens(model);
    const expected = await generateGreedy(engine, prompts, eos, 24);
    expect(expected.flat().length).toBeGreaterThan(0);
    expect(await answer(prompts, eos, 24, () => false)).toEqual(expected);
    await dispose();
    await engine.dispose();
    await model.close();
  });
});

describe('dota evaluate', () => {
  it('scores a trained run as an independent count of its answers does', async () => {
    const result = await dota([
      'evaluate',
      run,
      '--compare',
      '--data',
      'train.json',
      '--outputs',
      'sums.jsonl',
    ]);
    const [base, trained] = result['results'] as SetEvaluation[];
    expect([base!.adapter, trained!.adapter]).toEqual([null, run]);
    const rows = JSON.parse(readFileSync(path.join(folder, 'train.json'), 'utf8')) as {
      completion: string;
    }[];
    const outputs = outputsOf('sums.jsonl');
    for (const side of [base!, trained!]) {
      const own = outputs.filter((output) => output.adapter === side.adapter);
      expect(own).toHaveLength(60);
      const right = own.filter(({ response, row }) =>
        countsAsRight('train.json', response, rows[row]!.completion),
      ).length;
      expect(side.correct).toBe(right);
      expect(side.accuracy).toBe(right / 60);
    }
    expect(trained!.correct).toBeGreaterThan(0);
    expect(trained!.perplexity!).toBeLessThan(base!.perplexity!);

    // The same answers as the greedy path without a cache, which evaluates a run's own test file.
    const greedy = await dota(['evaluate', run, '--no-loss', '--data', 'train.json']);
    expect(greedy['correct']).toBe(trained!.correct);

    const stored = JSON.parse(
      readFileSync(path.resolve(folder, run, 'evaluations.json'), 'utf8'),
    ) as StoredEvaluation[];
    expect(stored.map(({ adapter, checkpoint }) => [adapter, checkpoint])).toEqual([
      [null, 'none'],
      [run, 'best'],
    ]);
    await dota(['evaluate', run, '--compare', '--data', 'train.json', '--limit', '5']);
    const again = readFileSync(path.resolve(folder, run, 'evaluations.json'), 'utf8');
    expect((JSON.parse(again) as StoredEvaluation[]).map(({ total }) => total)).toEqual([5, 5]);
    expect(readdirSync(path.resolve(folder, run)).filter((name) => name.endsWith('.tmp'))).toEqual(
      [],
    );
  });

  it('scores the demo’s task as an independent count of its answers does', async () => {
    const sample = path.resolve('media/sample');
    const data = path.join(sample, 'data/arithmetic.test.json');
    const result = await dota([
      ...['evaluate', path.join(sample, 'model'), '--data', data, '--limit', '60'],
      ...['--outputs', 'demo.jsonl', '--no-loss'],
    ]);
    const rows = JSON.parse(readFileSync(data, 'utf8')) as { answer: string }[];
    const right = outputsOf('demo.jsonl').filter(({ response, row }) => {
      const found = /(-?[0-9]+)\D*$/.exec(response)?.[1];
      return found !== undefined && Number(found) === Number(rows[row]!.answer);
    });
    const [one] = result['results'] as SetEvaluation[];
    expect(one).toMatchObject({ total: 60, correct: right.length });
    // The base model was never taught the task, yet some answers are right by chance.
    expect(right.length).toBeLessThan(60);
  });

  it.each(['generate', 'loglikelihood'])('scores all sets of a folder by %s', async (scoring) => {
    const choices = taskIds.slice(0, 8).flatMap((id) => path.join(sets, id, 'test.json'));
    const result = await dota([
      ...['evaluate', 'model', '--scoring', scoring, '--max-new-tokens', '6'],
      ...['--data', ...(scoring === 'generate' ? [sets] : choices), '--outputs', 'all.jsonl'],
    ]);
    const results = result['results'] as SetEvaluation[];
    expect(results.map(({ set }) => set)).toEqual(
      taskIds.slice(0, scoring === 'generate' ? undefined : 8),
    );
    const outputs = outputsOf('all.jsonl');
    for (const one of results) {
      expect(one).toMatchObject({ total: 3, num_beams: scoring === 'generate' ? 4 : null });
      const rows = JSON.parse(readFileSync(one.file, 'utf8')) as { answer: string }[];
      const own = outputs.filter(({ set }) => set === one.set);
      const right = own.filter(({ response, row }) =>
        countsAsRight(one.set, response, rows[row]!.answer),
      );
      expect(one.correct, one.set).toBe(right.length);
      expect(one.perplexity!).toBeGreaterThan(1);
    }
    if (scoring === 'loglikelihood')
      expect(results.every((one) => one.unanswered === 0)).toBe(true);
    // The papers' tables average the eight and the four sets apart.
    const averages = result['averages'] as { group: string; accuracy: number; sets: number }[];
    const groups = { commonsense: results.slice(0, 8), arithmetic: results.slice(8) };
    for (const [group, own] of Object.entries(groups)) {
      if (own.length === 0) continue;
      const mean = own.reduce((sum, { accuracy }) => sum + accuracy, 0) / own.length;
      const average = averages.find((one) => one.group === group)!;
      expect(average.sets).toBe(own.length);
      expect(average.accuracy).toBeCloseTo(mean, 12);
    }
  });

  it('answers a run by the protocol where a task or a set is named, and keeps the result', async () => {
    const kept = (): StoredEvaluation[] =>
      JSON.parse(
        readFileSync(path.resolve(folder, run, 'evaluations.json'), 'utf8'),
      ) as StoredEvaluation[];
    // Greedy accuracy on a file of one's own is not one of the protocol's numbers, and is not kept.
    await dota(['evaluate', run, '--no-loss', '--data', 'train.json', '--limit', '3']);
    expect(kept().some(({ total }) => total === 3)).toBe(false);
    const short = ['--max-new-tokens', '2', '--no-loss'];
    const boolq = path.join(sets, 'boolq/test.json');
    for (const args of [
      ['--data', boolq],
      ['--task', 'piqa', '--data', boolq],
    ]) {
      const result = await dota(['evaluate', run, ...args, ...short]);
      expect(result['results']).toMatchObject([
        { adapter: run, total: 3, num_beams: 4, perplexity: null },
      ]);
    }
    const found = kept().filter(({ file }) => file === boolq);
    expect(found.map(({ set, num_beams: beams }) => [set, beams])).toEqual([
      ['boolq', 4],
      ['piqa', 4],
    ]);
    for (const { interval, correct } of found) {
      // Wilson's interval of `correct` of 3 by its closed form.
      const [n, z] = [3, 1.959963984540054];
      const centre = (correct + (z * z) / 2) / (n + z * z);
      expect((interval[0] + interval[1]) / 2).toBeCloseTo(centre, 10);
    }
  });

  it('answers by the protocol where the configuration’s own test file is a set', async () => {
    const boolq = path.join(sets, 'boolq/test.json');
    const config = tinyConfig({
      data: { validation: 'train.json', validation_split: 0, test: boolq },
    });
    writeFileSync(path.join(folder, 'set.dota.json'), JSON.stringify(config));
    const short = ['--max-new-tokens', '2'];
    const own = await dota(['evaluate', 'set.dota.json', ...short]);
    const named = await dota(['evaluate', 'set.dota.json', ...short, '--data', boolq]);
    expect(own['results']).toEqual(named['results']);
    expect(own['results']).toMatchObject([{ set: 'boolq', total: 3, num_beams: 4 }]);
    // Beside the validation loss, as without a set.
    const loss = await dota(['evaluate', 'set.dota.json', '--no-accuracy']);
    expect(own['val_loss']).toBe(loss['val_loss']);
    expect(loss).toMatchObject({ accuracy: null, scoring: null });
    expect(loss).not.toHaveProperty('results');
    // Any other file is answered greedily, and the output says so.
    const other = ['evaluate', 'set.dota.json', '--data', 'train.json', '--limit', '3', ...short];
    expect(await dota(other)).toMatchObject({ scoring: 'greedy', total: 3 });
    expect((await runCli(other, folder)).stdout).toContain('accuracy of greedy answers');
  });

  it('answers the test sets of the configuration, relative to it', async () => {
    const place = path.join(folder, 'own');
    for (const set of ['boolq', 'gsm8k']) {
      cpSync(path.join(sets, set), path.join(place, 'data', set), { recursive: true });
    }
    const named = ['data/boolq/test.json', 'data/gsm8k/test.json'];
    const config = tinyConfig({
      model: path.join(folder, 'model'),
      data: {
        train: path.join(folder, 'train.json'),
        validation: path.join(folder, 'train.json'),
        test_sets: named,
      },
    });
    const file = path.join(place, 'own.dota.json');
    writeFileSync(file, JSON.stringify(config));
    const short = ['--max-new-tokens', '2'];
    const own = await dota(['evaluate', file, ...short]);
    const files = named.map((set) => path.join(place, set));
    expect(own['results']).toEqual(
      (await dota(['evaluate', file, ...short, '--data', ...files]))['results'],
    );
    expect(own['results']).toMatchObject([
      { set: 'boolq', total: 3, num_beams: 4 },
      { set: 'gsm8k', total: 3, num_beams: 4 },
    ]);
    expect(own['averages']).toMatchObject([{ group: 'commonsense' }, { group: 'arithmetic' }]);
    // The loss comes first; a set that is missing is told before it.
    expect(own['val_loss']).toBeGreaterThan(0);
    rmSync(files[1]!);
    const missing = await runCli(['evaluate', file, ...short, '--json'], folder);
    expect(missing.json).toMatchObject({ error: { code: 'file.missing', where: files[1] } });
    expect(missing.stderr).not.toContain('boolq');
  }, 60_000);

  it('gives the validation loss of a run as training does', async () => {
    writeFileSync(path.join(folder, 'text.txt'), 'one two three\nfour five six\n');
    const text = await dota(['evaluate', 'model', '--scoring', 'perplexity', '--data', 'text.txt']);
    const [plain] = text['results'] as SetEvaluation[];
    expect(plain!.tokens).toBeGreaterThan(20);
    expect(plain).toMatchObject({ total: 0 });
    // The validation split of another file is this whole file.
    const config = tinyConfig({ data: { validation: 'train.json', validation_split: 0 } });
    writeFileSync(path.join(folder, 'whole.dota.json'), JSON.stringify(config));
    const whole = await dota(['evaluate', 'whole.dota.json', '--no-accuracy']);
    const ours = await dota([
      'evaluate',
      'model',
      '--scoring',
      'perplexity',
      '--data',
      'train.json',
    ]);
    const [result] = ours['results'] as SetEvaluation[];
    // Other batches, so other orders of fp32 sums.
    expect(result!.loss).toBeCloseTo(Number(whole['val_loss']), 5);
    expect(result!.tokens).toBe(whole['val_tokens']);
  });

  it('prints tables', async () => {
    const args = ['evaluate', 'model', '--data', path.join(sets, 'boolq/test.json')];
    const table = async (format: string): Promise<string> => {
      const options = ['--max-new-tokens', '2', '--format', format];
      return (await runCli([...args, ...options], folder)).stdout;
    };
    expect(await table('markdown')).toContain('| base model | 0.0 ±');
    expect(await table('latex')).toContain('\\begin{tabular}{lrr}');
    args.push(path.join(sets, 'piqa/test.json'), path.join(sets, 'gsm8k/test.json'));
    const both = (await table('markdown')).split('\n').filter((line) => line.includes('Avg.'));
    expect(both).toEqual(['| Model | BoolQ | PIQA | Avg. |', '| Model | GSM8K | Avg. |']);
  });

  it('says what to do without data, and without choices', async () => {
    const nothing = await runCli(['evaluate', 'model', '--json'], folder);
    expect(nothing.code).toBe(64);
    const numbers = path.join(sets, 'gsm8k/test.json');
    const none = await runCli(
      ['evaluate', 'model', '--scoring', 'loglikelihood', '--data', numbers, '--json'],
      folder,
    );
    expect(none.code).toBe(65);
    expect(none.stderr).toContain('--scoring generate');
  });
});

describe('dota tasks', () => {
  it('names every set with its source, and checks a folder', async () => {
    const known = (await dota(['tasks']))['tasks'] as { task: string; source: string }[];
    expect(known.map(({ task }) => task)).toEqual([...taskIds]);
    for (const { source } of known)
      expect(source).toMatch(/^https:\/\/github\.com\/AGI-Edgerunners\//);
    const found = (await dota(['tasks', sets]))['tasks'] as {
      task: string;
      file: string;
      found_rows: number;
      problem: string;
    }[];
    for (const { task, file, found_rows, problem } of found) {
      expect(file).toBe(path.join(sets, task, 'test.json'));
      expect(found_rows).toBe(3);
      // The samples are no published sets, and it says so.
      expect(problem).toContain('3 rows, the published set has');
    }
  });
});
