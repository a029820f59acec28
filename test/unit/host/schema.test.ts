import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

describe('the JSON schemas', () => {
  it('are what the zod schemas yield', () => {
    expect(() =>
      execFileSync(process.execPath, ['scripts/schema.mjs', '--check'], { stdio: 'pipe' }),
    ).not.toThrow();
  });

  it.each(['dota', 'dota-study'])('%s explains every key that the editor completes', (name) => {
    const schema = JSON.parse(readFileSync(`media/${name}.schema.json`, 'utf8')) as {
      properties: Record<string, { description?: string }>;
    };
    const silent = Object.entries(schema.properties)
      .filter(([key, value]) => key !== '$schema' && value.description === undefined)
      .map(([key]) => key);
    expect(silent).toEqual([]);
  });
});
