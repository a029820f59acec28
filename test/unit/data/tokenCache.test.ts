/** Batches of a cached dataset are those of one that was just tokenized, bit by bit. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { runConfigSchema } from '../../../src/config/runConfig';
import { prepareDataset } from '../../../src/data/prepare';
import { TokenCache } from '../../../src/data/tokenCache';
import { TensorCache } from '../../../src/models/tensorCache';
import { loadTokenizer } from '../../../src/models/tokenizer';
import { trainingBatches } from '../../../src/trainer/training/stepBatches';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-tokens-'));
  const rows = Array.from({ length: 40 }, (_, i) => ({
    prompt: `${i} + ${i} = `,
    completion: i % 9 === 0 ? ' ' : `${2 * i}, naïvely ${'so '.repeat(i % 7)}`,
  }));
  writeFileSync(path.join(folder, 'rows.json'), JSON.stringify(rows));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

it('gives the same batches and counts, without encoding again', async () => {
  const tokenizer = await loadTokenizer('media/sample/model', 610);
  const encode = vi.spyOn(tokenizer, 'encode');
  const cache = new TokenCache({
    cache: new TensorCache(path.join(folder, 'cache')),
    tokenizerHash: 'tokenizer',
  });
  const prepare = (change: object, withCache = true) => {
    const config = runConfigSchema.parse({ data: { train: 'rows.json', ...change } });
    return prepareDataset(config.data, tokenizer, {
      directory: folder,
      seed: 3,
      ...(withCache ? { cache } : {}),
    });
  };
  const batches = async (prepared: ReturnType<typeof prepare>) => {
    const config = runConfigSchema.parse({
      data: { train: 'rows.json', packing: true, max_length: 64 },
      training: { per_device_train_batch_size: 4 },
    });
    const plan = trainingBatches((await prepared).train, config, tokenizer);
    return Array.from({ length: 2 * plan.stepsPerEpoch }, (_, i) => plan.step(i + 1));
  };
  const plain = await batches(prepare({}, false));
  const first = await batches(prepare({}));
  encode.mockClear();
  const again = await prepare({});
  expect(encode).not.toHaveBeenCalled();
  const cached = await batches(Promise.resolve(again));
  expect(first).toEqual(plain);
  expect(cached).toEqual(plain);
  expect(again.trainReport).toEqual((await prepare({}, false)).trainReport);

  // Every option that changes the ids is part of the key, and so are the data.
  const entries = (): number => readdirSync(path.join(folder, 'cache')).length;
  expect(entries()).toBe(1);
  const changes = [{ loss_mask: 'all' }, { max_length: 48 }, { template: 'plain' }];
  for (const change of changes) await prepare(change);
  await prepare({ truncation: 'drop' });
  expect(entries()).toBe(5);
  writeFileSync(
    path.join(folder, 'rows.json'),
    '[{"prompt":"a","completion":"b"},{"prompt":"c","completion":"d"}]',
  );
  expect((await prepare({})).train.length).toBe(1);
  expect(entries()).toBe(6);
});
