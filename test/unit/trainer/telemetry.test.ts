/**
 * onnxruntime's official builds report home unless told otherwise, and then keep an identifier and a
 * database in the user's cache: an empty home shows whether they were started.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from './cliHarness';

const config = path.resolve('media/sample/arithmetic.dota.json');
let home: string;

beforeAll(() => {
  home = mkdtempSync(path.join(tmpdir(), 'dota-home-'));
});
afterAll(() => {
  rmSync(home, { recursive: true, force: true });
});

/** A shell without the variables that switch the reports off by themselves (`CI` is one). */
function plainShell(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8' };
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true }).map(String);
}

describe('onnxruntime’s telemetry', () => {
  it.each([
    ['in the main thread', ['decompose', 'sample', '--rank', '4', '--json']],
    [
      'in the worker of a run',
      ['train', config, '--root', 'runs', '--set', 'training.max_steps=1'],
    ],
  ])('is off %s', (_, args) => {
    const run = spawnSync(process.execPath, [cli, ...args], {
      cwd: home,
      env: plainShell(),
      encoding: 'utf8',
    });
    expect(run.status, run.stderr).toBe(0);
    expect(
      filesUnder(home).filter((file) => /Microsoft|onnxruntime\.db|deviceid/.test(file)),
    ).toEqual([]);
  });
});
