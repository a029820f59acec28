/** The peak memory of a run is that of its own process, however large the program is that has started it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunManifest } from '../../../src/protocol/runFiles';
import {
  computeEnvironment,
  withComputeArguments,
} from '../../../src/trainer/child/childEnvironment';
import { cli } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-peak-'));
  await writeTinyWorkspace(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const starterMb = 700;

describe('the peak memory of a run', () => {
  it('is not that of what has started it', () => {
    // As the editor does it: with all that the trainer needs, so that it does not start itself again.
    const args = [cli, 'train', 'tiny.dota.json', '--set', 'training.max_steps=2', '--json'];
    const starter = `
      const memory = Buffer.alloc(${starterMb} * 2 ** 20, 1);
      const { spawnSync } = require('node:child_process');
      const run = spawnSync(process.execPath, ${JSON.stringify([...withComputeArguments([]), ...args])}, {
        encoding: 'utf8',
      });
      process.stderr.write(run.stderr);
      process.stdout.write(run.stdout);
      process.exitCode = run.status === 0 && memory[0] === 1 ? 0 : 70;`;
    const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', starter], {
      cwd: folder,
      encoding: 'utf8',
      env: computeEnvironment({ ...process.env, NODE_OPTIONS: '' }),
    });
    expect(status, stderr).toBe(0);
    const { run } = JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as { run: string };
    const manifest = JSON.parse(readFileSync(path.join(run, 'run.json'), 'utf8')) as RunManifest;
    expect(manifest.peakRssMb).toBeGreaterThan(50);
    expect(manifest.peakRssMb).toBeLessThan(0.8 * starterMb);
  });
});
