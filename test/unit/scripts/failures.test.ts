/** What `npm test` says at its end about what failed, from reports that vitest itself writes. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { failuresOf, failureSummary } from '../../../scripts/failures.mjs';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-failures-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Runs files of tests as one suite. @param bodies by name @returns what counts as failed */
function suite(name: string, bodies: Record<string, string>) {
  const root = path.join(folder, name);
  mkdirSync(root);
  const head = "import { afterAll, beforeAll, describe, expect, it } from 'vitest';\n";
  for (const [file, body] of Object.entries(bodies))
    writeFileSync(path.join(root, `${file}.test.ts`), head + body);
  const report = path.join(root, 'report.json');
  const { status } = spawnSync(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      ...['run', '--root', root, '--reporter=json', `--outputFile=${report}`],
    ],
    { env: { ...process.env, FORCE_COLOR: '1' } },
  );
  const parsed = JSON.parse(readFileSync(report, 'utf8')) as { testResults: unknown[] };
  return failuresOf(name, parsed, status);
}

const passing = "it('passes', () => { expect(1).toBe(1); });";

it('names every failed test, and every file that fails beside its tests', () => {
  const failures = suite('unit', {
    load: `import './absent.js';\n${passing}`,
    hook: `beforeAll(() => { throw new Error('no disk'); });\n${passing}`,
    nested: `describe('outer', () => { afterAll(() => { throw new Error('x'); }); ${passing} });`,
    passing,
    tests: `
      describe('outer', () => {
        ${passing}
        it('is \\u001b[31mred', () => { expect({ a: 1 }).toEqual({ a: 2 }); });
        it('is long', () => { throw new Error(Array(40).fill('line').join('\\n')); });
        it.skip('is skipped', () => {});
      });`,
  });
  const text = failureSummary(failures);
  expect(text).not.toContain('\u001b');
  const blocks = text.trim().split('\n\n').sort();
  expect(blocks).toHaveLength(failures.length);
  expect(blocks).toHaveLength(5);
  const [hook, load, nested, long, red] = blocks;
  const file = 'the file itself, or a hook in it';
  expect(hook).toMatch(
    new RegExp(`^FAILED unit \\| \\S*hook\\.test\\.ts \\| ${file}\n {2}no disk$`),
  );
  expect(load).toMatch(new RegExp(`load\\.test\\.ts \\| ${file}\n {2}.*absent\\.js`));
  expect(nested).toMatch(new RegExp(`nested\\.test\\.ts \\| ${file}\n {2}The reason stands above`));
  expect(long!.split('\n')[0]).toMatch(/^FAILED unit \| \S*tests\.test\.ts \| outer > is long$/);
  expect(long!.split('\n')).toHaveLength(1 + 15);
  expect(red).toMatch(/\| outer > is red\n {2}AssertionError: expected \{ a: 1 \} to deeply equal/);
  // The place in the test stays; the frames of the runner go.
  expect(red).toMatch(/^\s+at .*tests\.test\.ts:5:\d+/m);
  expect(red).not.toContain('node_modules');
});

it('counts an error outside of any test', () => {
  const late = `it('ends', () => {
    setTimeout(() => { throw new Error('late'); });
    return new Promise((resolve) => setTimeout(resolve, 100));
  });`;
  const failures = suite('webview', { late });
  expect(failures).toHaveLength(1);
  expect(failureSummary(failures)).toContain('FAILED webview | an error outside of any test');
});

it('says nothing where all passed', () => {
  const failures = failuresOf('unit', { testResults: [] }, 0);
  expect(failures).toEqual([]);
  expect(failureSummary(failures)).toBe('');
});
