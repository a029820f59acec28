/** What a GPU does wrong, and what becomes of the run. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuEnvironment, softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import { journalRows, runCli, type CliResult } from '../../trainer/cliHarness';
import { writeTinyWorkspace } from '../../trainer/tinyModel';
import { runOn } from './child';

const steps = 6;
let place: string;
beforeAll(async () => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-lost-'));
  await writeTinyWorkspace(place, {
    adapter: { target_modules: ['q_proj'] },
    training: {
      max_steps: steps,
      per_device_train_batch_size: 2,
      gradient_accumulation_steps: 1,
      eval_on_start: false,
      eval_steps: 2,
      save_steps: 2,
    },
  });
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

const onGpu = (args: string[], env: Record<string, string> = {}): Promise<CliResult> =>
  runCli([...args, '--json'], place, { ...softwareGpuEnvironment(), ...env });

describe.runIf(softwareGpuSupported).sequential('a WebGPU device', () => {
  it('that has no room for a buffer says so in words that are understood', async () => {
    // SwiftShader has no memory of more than 1 GiB in one piece.
    const error = await runOn('webgpu', 'test/unit/trainer/allocationChild.ts', ['1500']);
    expect(error).toMatchObject({ code: 'device.outOfMemory' });
  });

  it('that is lost leaves a crashed run, which resumes', { timeout: 300_000 }, async () => {
    const device = ['--device', 'webgpu', '--allow-software-gpu'];
    // Two layers, of which the lower one's backward pass ends at its first adapter: in step 4.
    const lost = await onGpu(['train', 'tiny.dota.json', ...device], {
      NODE_OPTIONS: `--require ${path.resolve('test/unit/trainer/faults.cjs')}`,
      DOTA_TEST_LOSE_AFTER: '7',
    });
    expect(lost.code, lost.stderr).toBe(75);
    expect(lost.json).toMatchObject({
      state: 'crashed',
      error: { code: 'device.lost', next: expect.stringContaining('Resume') as string },
    });
    const run = String(lost.json?.run);
    expect(JSON.parse(readFileSync(path.join(run, 'run.json'), 'utf8'))).toMatchObject({
      state: 'crashed',
      error: { code: 'device.lost' },
    });
    const resumed = await onGpu(['train', '--resume', run]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.json).toMatchObject({ state: 'finished', steps });

    const rows = journalRows(run);
    // Steps 2 and 3 were done; 2 was saved.
    expect(rows.find(({ kind }) => kind === 'resume')).toMatchObject({ step: 2 });
    const cpu = await runCli(['train', 'tiny.dota.json', '--json'], place);
    const last = (of: typeof rows): number =>
      of.findLast(({ kind, step }) => kind === 'step' && step === steps)!.loss!;
    // As in training.test.ts.
    const theirs = last(journalRows(String(cpu.json?.run)));
    expect(Math.abs(last(rows) / theirs - 1)).toBeLessThan(1e-4);
    // What the GPU held is in the journal and the result; no tool speaks for a software GPU.
    const held = rows.filter(({ kind }) => kind === 'step');
    expect(held.every(({ deviceMb }) => deviceMb! > 0)).toBe(true);
    expect(resumed.json?.peak_device_mb).toBeGreaterThanOrEqual(0);
  });
});
