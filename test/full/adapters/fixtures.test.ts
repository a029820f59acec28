import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
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
