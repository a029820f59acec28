import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

describe('media/dota.schema.json', () => {
  it('is what the zod schema yields', () => {
    expect(() =>
      execFileSync(process.execPath, ['scripts/schema.mjs', '--check'], { stdio: 'pipe' }),
    ).not.toThrow();
  });

  it('explains every key that the editor completes', () => {
    const schema = JSON.parse(readFileSync('media/dota.schema.json', 'utf8')) as {
      properties: Record<string, { description?: string }>;
    };
    const silent = Object.entries(schema.properties)
      .filter(([key, value]) => key !== '$schema' && value.description === undefined)
      .map(([key]) => key);
    expect(silent).toEqual([]);
  });
});
