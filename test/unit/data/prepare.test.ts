import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runConfigSchema, type RunConfig } from '../../../src/config/runConfig';
import { prepareDataset, splitIndices } from '../../../src/data/prepare';
import { loadTokenizer, type Tokenizer } from '../../../src/models/tokenizer';

let folder: string;
let tokenizer: Tokenizer;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'dota-prepare-'));
  const fixture = path.join(import.meta.dirname, '../../fixtures/tokenizer/llama3.json');
  const { copyFile } = await import('node:fs/promises');
  await copyFile(fixture, path.join(folder, 'tokenizer.json'));
  const config = { bos_token: '<|begin_of_text|>', eos_token: '<|eot_id|>' };
  await writeFile(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config));
  tokenizer = await loadTokenizer(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const data = (change: object): RunConfig['data'] =>
  runConfigSchema.parse({ data: { train: 'train.jsonl', ...change } }).data;
const write = (name: string, rows: object[]): Promise<void> =>
  writeFile(path.join(folder, name), rows.map((row) => JSON.stringify(row)).join('\n'));
const options = () => ({ directory: folder, seed: 3 });

const rows = Array.from({ length: 40 }, (_, i) => ({
  instruction: `Count to ${i}.`,
  input: '',
  output: `word `.repeat(1 + (i % 5)),
  answer: `${i}`,
}));

describe('prepareDataset', () => {
  it('splits off a validation set that depends on the seed alone', async () => {
    await write('train.jsonl', rows);
    const prepared = await prepareDataset(data({ validation_split: 0.1 }), tokenizer, options());
    expect([prepared.train.length, prepared.validation.length]).toEqual([36, 4]);
    const again = await prepareDataset(data({ validation_split: 0.1 }), tokenizer, options());
    expect(again.validation.fingerprint()).toBe(prepared.validation.fingerprint());
    expect(again.trainHash).toBe(prepared.trainHash);
    const other = await prepareDataset(data({ validation_split: 0.1 }), tokenizer, {
      ...options(),
      seed: 4,
    });
    expect(other.validation.fingerprint()).not.toBe(prepared.validation.fingerprint());
    expect(other.trainHash).not.toBe(prepared.trainHash);
  });

  it('uses a validation file where one is named', async () => {
    await write('train.jsonl', rows);
    await write('valid.jsonl', rows.slice(0, 3));
    const prepared = await prepareDataset(
      data({ validation: 'valid.jsonl' }),
      tokenizer,
      options(),
    );
    expect([prepared.train.length, prepared.validation.length]).toEqual([40, 3]);
    expect(prepared.validationReport?.rows).toBe(3);
  });

  it('reports what it did to the rows', async () => {
    await write('train.jsonl', [
      ...rows,
      { ...rows[0], output: '  ' },
      { ...rows[0], output: 'say <|eot_id|> twice' },
      { ...rows[0], instruction: 'long '.repeat(200) },
      { ...rows[0], output: 'long '.repeat(200) },
    ]);
    const seen: number[] = [];
    const prepared = await prepareDataset(
      data({ max_length: 128, validation_split: 0 }),
      tokenizer,
      { ...options(), onProgress: ({ fraction }) => seen.push(fraction) },
    );
    expect(prepared.trainReport).toMatchObject({
      partial: false,
      fraction: 1,
      rows: 44,
      examples: 42,
      empty: 1,
      specialText: 1,
      truncated: 2,
      withoutLabels: 1,
      tokens: prepared.train.tokens,
      lossTokens: prepared.train.lossTokens(),
    });
    const counted = prepared.trainReport.histogram.reduce((sum, bin) => sum + bin.rows, 0);
    expect(counted).toBe(43);
    expect(prepared.trainReport.histogram.length).toBeLessThanOrEqual(32);
    expect(seen.at(-1)).toBe(1);
    expect(prepared.dataPolicy).toBe('completion|auto|128|keep_start');
    expect(prepared.validation.length).toBe(0);
  });

  it('names file and line of a row without the template’s fields', async () => {
    await write('train.jsonl', [...rows.slice(0, 2), { question: 'x' }]);
    await expect(prepareDataset(data({}), tokenizer, options())).rejects.toMatchObject({
      code: 'data.malformed',
      where: `${path.join(folder, 'train.jsonl')}:3`,
    });
  });

  it('says when nothing is left to train on', async () => {
    await write('train.jsonl', [{ ...rows[0], output: '' }]);
    await expect(prepareDataset(data({}), tokenizer, options())).rejects.toMatchObject({
      code: 'data.empty',
    });
  });

  it('stops when asked to', async () => {
    await write('train.jsonl', rows);
    const signal = AbortSignal.abort();
    await expect(
      prepareDataset(data({}), tokenizer, { ...options(), signal }),
    ).rejects.toMatchObject({ code: 'run.stopped' });
  });
});

describe('the split', () => {
  it('keeps both sides non-empty and gives each sequence to one side', () => {
    for (const [count, share, size] of [
      [1, 0.5, 0],
      [2, 0.01, 1],
      [10, 0, 0],
      [1000, 0.05, 50],
    ] as const) {
      const { train, validation } = splitIndices(count, share, 1);
      expect(validation.length).toBe(size);
      expect([...train, ...validation].sort((a, b) => a - b)).toEqual(
        Array.from({ length: count }, (_, i) => i),
      );
    }
  });
});
