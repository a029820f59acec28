/** What is told of a run's device, speed and memory when it has ended. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunManifest } from '../../../src/protocol/runFiles';
import { measuredBeside } from '../../../src/trainer/commands/train';
import { writeSyntheticRun } from '../../support/syntheticRun';
import { runCli } from './cliHarness';

let root: string;
beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), 'dota-show-'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const cpu: Partial<RunManifest> = {
  device: { kind: 'cpu', name: 'AMD EPYC', threads: 2, reason: 'It did not answer within 60 s.' },
  timing: { seconds: 12, tokensPerSecond: 4521.37 },
  peakRssMb: 724,
  estimate: { peakRssMb: 700 },
  progress: { step: 6, totalSteps: 6, epoch: 1, tokens: 600 },
};
const gpu: Partial<RunManifest> = {
  ...cpu,
  device: { kind: 'webgpu', name: 'WebGPU (NVIDIA H200)', threads: 2 },
  peakDeviceMb: 0.2,
  estimate: { peakRssMb: 3 },
};

async function shown(id: string, manifest: Partial<RunManifest>, loss: number): Promise<string[]> {
  const row = { step: 7, epoch: 1, learningRate: 1, gradNorm: 1, tokens: 1, tokensPerSecond: 1 };
  const extraRows = [{ kind: 'step', ...row, loss, rssMb: 1, elapsed: 1 }];
  writeSyntheticRun(root, { id, steps: 6, manifest, extraRows });
  const result = await runCli(['runs', 'show', id, '--root', root], root);
  expect(result.code, result.stderr).toBe(0);
  return result.stdout.split('\n').map((line) => line.replace(/ {2,}/, ': '));
}

describe('dota runs show', () => {
  it('shows the device and why, the speed and the memory, and losses to four digits', async () => {
    const lines = await shown('on-cpu', cpu, 4.624290466308594);
    expect(lines).toEqual(
      expect.arrayContaining([
        'Loss: 4.6243',
        'Device: CPU (AMD EPYC, 2 threads); the GPU is not used: It did not answer within 60 s.',
        'Speed: 4521 tokens/s',
        'Memory: peak 724 MB, estimated 700 MB',
      ]),
    );
    expect(lines.find((line) => line.startsWith('Validation'))).toMatch(/: \d\.\d{4}$/);
    expect(lines.join('\n')).not.toContain('GPU memory');
  });

  it('shows the memory of the GPU beside its estimate', async () => {
    const lines = await shown('on-gpu', gpu, 0.00012341);
    expect(lines).toEqual(
      expect.arrayContaining([
        'Loss: 1.234e-4',
        'Device: WebGPU (NVIDIA H200)',
        'GPU memory: peak 0.2 MB, estimated 3 MB',
        'Memory: peak 724 MB',
      ]),
    );
  });
});

it('compares an estimate with the memory that it is of', () => {
  expect(measuredBeside(cpu)).toBe('estimated before: 700 MB (measured 724 MB)');
  expect(measuredBeside(gpu)).toBe('estimated before: 3 MB on the GPU (measured 0.2 MB)');
  expect(measuredBeside({ ...cpu, estimate: { peakRssMb: 700, secondsPerStep: 1.5 } })).toBe(
    'estimated before: 700 MB (measured 724 MB), 1.5 s a step (measured 2.0, evaluation included)',
  );
  // Nobody counts: rather nothing than the host's memory.
  const uncounted = { ...gpu };
  delete uncounted.peakDeviceMb;
  expect(measuredBeside(uncounted)).toBe('');
});
