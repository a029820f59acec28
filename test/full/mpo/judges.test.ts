/** The committed values of numpy, computed again. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runJudge } from '../support/judges';

/** Leaves of a JSON value with their paths. */
function leaves(value: unknown, path = ''): [string, unknown][] {
  if (typeof value !== 'object' || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([key, v]) => leaves(v, `${path}.${key}`));
}

describe.runIf(process.env['DOTA_FULL'])('test/fixtures/mpo', () => {
  it('is what numpy gives today', () => {
    const committed = leaves(
      JSON.parse(readFileSync('test/fixtures/mpo/judges.json', 'utf8')) as unknown,
    ).filter(([path]) => path.startsWith('.cases'));
    const today = new Map(leaves(JSON.parse(runJudge('test/fixtures/mpo/make.py'))));
    expect(committed.length).toBeGreaterThan(500);
    for (const [path, value] of committed) {
      const again = today.get(path);
      // LAPACK versions differ in the last digits; small singular values by more, relatively.
      if (typeof value === 'number')
        expect(Math.abs((again as number) - value), path).toBeLessThanOrEqual(
          1e-7 * Math.abs(value) + 1e-9,
        );
      else expect(again, path).toBe(value);
    }
  });
});
