import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

describe('ARCHITECTURE.md', () => {
  const text = readFileSync('ARCHITECTURE.md', 'utf8');

  it('names a test that exists for every invariant', () => {
    const rows = text
      .slice(text.indexOf('## Invariants'))
      .split('\n')
      .filter((line) => /^\| (?!invariant|-)/.test(line));
    expect(rows.length).toBeGreaterThan(15);
    const missing = rows.flatMap((row) => {
      const tests = [...row.split('|')[2]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
      if (tests.length === 0) return [row];
      return tests.filter((name) => !existsSync(`test/unit/${name}.test.ts`));
    });
    expect(missing).toEqual([]);
  });

  it('names only source folders that exist', () => {
    const folders = [...text.matchAll(/^\| `(src\/\w+)`/gm)].map((match) => match[1]!);
    expect(folders.length).toBeGreaterThan(8);
    expect(folders.filter((folder) => !existsSync(folder))).toEqual([]);
  });
});
