/** What `npm test` says at its end about what failed, from runs of vitest itself. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Failure, failuresOf, failureSummary } from '../../../scripts/failures.mjs';

interface Report {
  passed: number;
  skipped: number;
  failures: Omit<Failure, 'suite'>[];
}

let folder: string;
/** Of the suite that ran last. */
let counts: { passed: number; skipped: number };
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
      ...['run', '--root', root, `--reporter=${path.resolve('scripts/failureReporter.mjs')}`],
    ],
    { env: { ...process.env, FORCE_COLOR: '1', DOTA_TEST_REPORT: report } },
  );
  const parsed = JSON.parse(readFileSync(report, 'utf8')) as Report;
  counts = { passed: parsed.passed, skipped: parsed.skipped };
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
  expect(counts).toEqual({ passed: 3, skipped: 2 });
  const text = failureSummary(failures);
  expect(text).not.toContain('\u001b');
  const blocks = text.trim().split('\n\n').sort();
  expect(blocks).toHaveLength(failures.length);
  expect(blocks).toHaveLength(5);
  const [hook, load, nested, long, red] = blocks;
  const file = 'the file itself, or a hook in it';
  expect(hook).toMatch(
    new RegExp(
      `^FAILED unit \\| \\S*hook\\.test\\.ts \\| ${file}\n {2}Error: no disk\n.*hook\\.test\\.ts:2:\\d+$`,
    ),
  );
  expect(load).toMatch(new RegExp(`load\\.test\\.ts \\| ${file}\n {2}.*absent\\.js`));
  expect(nested).toMatch(/nested\.test\.ts \| outer\n {2}Error: x$/m);
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
  expect(failureSummary(failures)).toContain(
    'FAILED webview | an error outside of any test\n  Error: late',
  );
});

it('counts a suite that ends with an error although nothing failed', () => {
  const failures = failuresOf('unit', { failures: [] }, 1);
  expect(failureSummary(failures)).toContain('FAILED unit | exit status 1');
});

it('says nothing where all passed', () => {
  const failures = failuresOf('unit', { failures: [] }, 0);
  expect(failures).toEqual([]);
  expect(failureSummary(failures)).toBe('');
});
