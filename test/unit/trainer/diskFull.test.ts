/** A disk that fills up while a run is at work costs nothing that was saved. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli, startCli, until, untilStep } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

const mountable = canMount();

function canMount(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const place = mkdtempSync(path.join(tmpdir(), 'dota-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', place], { stdio: 'ignore' });
    execFileSync('umount', [place]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(place, { recursive: true });
  }
}

/** Writes until nothing more fits. */
function fill(file: string): void {
  for (const bytes of [1 << 16, 1 << 12]) {
    try {
      for (;;) appendFileSync(file, new Uint8Array(bytes));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    }
  }
}

// Needs a small disk of its own; the injected error in the checkpoints' tests stands in elsewhere.
describe.runIf(mountable)('a full disk', () => {
  let place: string;
  let disk: string;
  beforeAll(async () => {
    place = mkdtempSync(path.join(tmpdir(), 'dota-full-'));
    disk = path.join(place, '.dota');
    await writeTinyWorkspace(place, {
      training: { num_train_epochs: 40, save_steps: 5, eval_steps: 5 },
    });
    execFileSync('mkdir', [disk]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk]);
  });
  afterAll(() => {
    // Lazily: after a failure the trainer may still be at work there.
    execFileSync('umount', ['-l', disk]);
    rmSync(place, { recursive: true, force: true });
  });

  it('stops the run resumably, keeps its checkpoints, and the run goes on once there is room', async () => {
    const { done } = startCli(['train', 'tiny.dota.json', '--json'], place);
    const runs = path.join(disk, 'runs');
    const id = await until('run folder', () => {
      try {
        return readdirSync(runs).find((name) => !name.startsWith('.'));
      } catch {
        return undefined;
      }
    });
    const run = path.join(runs, id);
    await untilStep(run, 8);
    fill(path.join(disk, 'ballast'));
    const stopped = await done;
    expect(stopped.code).toBe(75);
    expect(stopped.json).toMatchObject({
      state: 'stopped',
      error: { code: 'file.diskFull', next: expect.stringContaining('resume') as string },
    });
    const manifest = JSON.parse(readFileSync(path.join(run, 'run.json'), 'utf8')) as object;
    expect(manifest).toHaveProperty('state');
    const kept = readdirSync(path.join(run, 'checkpoints'));
    expect(kept.every((name) => /^step-\d+$/.test(name))).toBe(true);
    expect(kept.length).toBeGreaterThan(0);

    rmSync(path.join(disk, 'ballast'));
    const resumed = await runCli(['train', '--resume', run, '--json'], place);
    expect(resumed.code).toBe(0);
    expect(resumed.json).toMatchObject({ state: 'finished' });
  });
});
