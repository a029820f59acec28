import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { toFloat32 } from '../../../src/models/dtype';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';
import { runJudge } from '../support/judges';

/** Every number of a JSON value, in order, with its path. */
function numbers(value: unknown, path = ''): [string, number][] {
  if (typeof value === 'number') return [[path, value]];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => numbers(inner, `${path}/${key}`));
}

it.each([
  ['PEFT', 'adapters/make.py', 'adapters/peft.json'],
  ['PyTorch', 'adapters/make_tensor.py', 'adapters/tensor.json'],
  ['PyTorch', 'optimizer/make.py', 'optimizer/adamw8bit.json'],
  ['NumPy', 'nf4/make.py', 'nf4/nf4.json'],
])('%s still gives what %s made', (_judge, script, json) => {
  const committed = readFileSync(`test/fixtures/${json}`, 'utf8');
  const fresh = runJudge(`test/fixtures/${script}`);
  const [a, b] = [numbers(JSON.parse(committed)), numbers(JSON.parse(fresh))];
  expect(b.map(([path]) => path)).toEqual(a.map(([path]) => path));
  expect(a.length).toBeGreaterThan(1000);
  // fp32 sums may be ordered differently on another processor.
  a.forEach(([path, value], i) => {
    expect(Math.abs(value - b[i]![1]), path).toBeLessThan(1e-4 * Math.max(1, Math.abs(value)));
  });
});

it('PEFT still saves the adapter folders that are committed', async () => {
  const committed = path.resolve('test/fixtures/adapters/folders');
  const fresh = mkdtempSync(path.join(os.tmpdir(), 'dota-folders-'));
  try {
    runJudge('test/fixtures/adapters/make_folders.py', [fresh]);
    const names = readdirSync(committed).sort();
    expect(readdirSync(fresh).sort()).toEqual(names);
    const logits = (root: string): [string, number][] =>
      numbers(JSON.parse(readFileSync(path.join(root, 'logits.json'), 'utf8')));
    const expected = logits(committed);
    expect(expected.length).toBeGreaterThan(1000);
    const own = new Map(logits(fresh));
    // fp32 sums may be ordered differently on another processor.
    for (const [key, value] of expected) {
      expect(Math.abs(value - (own.get(key) ?? NaN)), key).toBeLessThan(1e-4 * 10);
    }
    for (const name of names.filter((entry) => !entry.endsWith('.json'))) {
      const config = (root: string): unknown =>
        JSON.parse(readFileSync(path.join(root, name, 'adapter_config.json'), 'utf8'));
      expect(config(fresh), name).toEqual(config(committed));
      const file = (root: string) =>
        SafetensorsFile.open(path.join(root, name, 'adapter_model.safetensors'));
      const [ours, theirs] = [await file(committed), await file(fresh)];
      expect([...theirs.names].sort()).toEqual([...ours.names].sort());
      for (const tensor of ours.names) {
        // An SVD's vectors are unique up to their signs only, which the random part follows not.
        if (name.startsWith('pissa')) continue;
        expect(toFloat32(await theirs.read(tensor)), tensor).toEqual(
          toFloat32(await ours.read(tensor)),
        );
      }
      await ours.close();
      await theirs.close();
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
});
