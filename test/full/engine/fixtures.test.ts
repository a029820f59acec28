import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { runJudge } from '../support/judges';

/** All numbers of a JSON value, in order. */
function numbers(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(numbers);
}

it('the committed decoder and AdamW fixtures are what the judges compute', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'dota-fixtures-'));
  runJudge('test/fixtures/engine/make_decoder_fixtures.py', [folder]);
  for (const file of ['decoders.json', 'decoders1.json', 'adamw.json']) {
    const read = (from: string) => {
      const text = readFileSync(path.join(from, file), 'utf8');
      return numbers({ ...(JSON.parse(text) as object), versions: undefined });
    };
    const fresh = read(folder);
    const committed = read('test/fixtures/engine');
    expect(fresh.length).toBe(committed.length);
    // Printed to 8 digits; kernels of another CPU may round differently in the last ones.
    const worst = Math.max(
      ...fresh.map((value, i) => Math.abs(value - committed[i]!) / (1e-3 + Math.abs(value))),
    );
    expect(worst, file).toBeLessThan(1e-6);
  }
});
