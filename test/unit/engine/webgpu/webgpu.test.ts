import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { softwareGpuEnvironment, softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';

type Report = Record<string, { loss: number; norm: number }[]>;

function train(device: 'cpu' | 'webgpu'): Report {
  const child = spawnSync(
    process.execPath,
    ['scripts/run-ts.mjs', 'test/unit/engine/webgpu/child.ts', device],
    {
      encoding: 'utf8',
      env: { ...process.env, ...(device === 'webgpu' && softwareGpuEnvironment()) },
    },
  );
  if (child.status !== 0) throw new Error(child.stderr);
  return JSON.parse(child.stdout) as Report;
}

// The software GPU's binaries exist for Linux on x64 only.
describe.runIf(softwareGpuSupported)('the WebGPU device', () => {
  it('trains like the CPU, without falling back to it', { timeout: 600_000 }, () => {
    const cpu = train('cpu');
    const webgpu = train('webgpu');
    // Both are fp32 with sums in another order; ten steps of AdamW amplify some 1e-7 a little.
    for (const [method, steps] of Object.entries(cpu)) {
      steps.forEach(({ loss, norm }, step) => {
        const other = webgpu[method]![step]!;
        expect(Math.abs(other.loss / loss - 1), `${method} ${step} loss`).toBeLessThan(1e-4);
        expect(Math.abs(other.norm / norm - 1), `${method} ${step} norm`).toBeLessThan(1e-4);
      });
      expect(steps.at(-1)!.loss).toBeLessThan(0.95 * steps[0]!.loss);
    }
  });
});
