/** The packed check of a GPU, as it arrives on a machine with nothing installed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuEnvironment, softwareGpuSupported } from '../../../scripts/software-gpu.mjs';
import type { Check } from '../../../scripts/gpu-check/judge';

const file = path.resolve('out/gpu-check.run');

/** Without Node, and with nothing of this environment but what is given. */
const run = (args: string[], env: Record<string, string> = {}) =>
  spawnSync('/bin/sh', [file, ...args], {
    encoding: 'utf8',
    cwd: tmpdir(),
    env: { PATH: '/usr/bin:/bin', HOME: tmpdir(), ...env },
  });

describe.runIf(softwareGpuSupported)('out/gpu-check.run', () => {
  beforeAll(() => {
    execFileSync(process.execPath, ['scripts/gpu-check/pack.mjs'], { stdio: 'inherit' });
  });

  it('takes less than 60 MB', () => {
    expect(statSync(file).size).toBeLessThan(60e6);
  });

  it('carries Node, the trainer, the runtime, the loader and the parts of the check', () => {
    const list = spawnSync('/bin/sh', ['-c', `sed '1,/^--archive--$/d' "$0" | tar -tz`, file], {
      encoding: 'utf8',
      maxBuffer: 1 << 24,
    });
    const names = list.stdout.split('\n');
    const runtime = './node_modules/onnxruntime-node/bin/napi-v6/linux/x64';
    expect(names).toEqual(
      expect.arrayContaining([
        './node',
        './run.sh',
        './check.cjs',
        './cli.cjs',
        './operators.mjs',
        './bufferLimit.mjs',
        './residency.mjs',
        './torch_step.py',
        './lib/libvulkan.so.1',
        `${runtime}/libonnxruntime.so.1`,
        `${runtime}/onnxruntime_binding.node`,
      ]),
    );
  });

  it('runs there', () => {
    expect(run(['--help'])).toMatchObject({ status: 0, stderr: '' });
  });

  it('says which loader it used where no driver has Vulkan', () => {
    const none = path.join(tmpdir(), 'none.json');
    const { status, stdout, stderr } = run(['--json'], {
      VK_ICD_FILENAMES: none,
      VK_DRIVER_FILES: none,
    });
    expect(status, stderr).toBe(69);
    const { vulkan_loader: loader } = JSON.parse(stdout) as { vulkan_loader: string };
    expect(['own', 'brought']).toContain(loader);
    expect(stderr.includes('no Vulkan loader')).toBe(loader === 'brought');
  });

  it('checks a software GPU', () => {
    const { status, stdout, stderr } = run(
      ['--json', '--small', '--allow-software-gpu'],
      softwareGpuEnvironment(),
    );
    expect(status, stderr + stdout).toBe(0);
    const { checks } = JSON.parse(stdout) as { checks: Check[] };
    const named = (part: string) => checks.filter(({ check }) => check.includes(part));
    for (const part of [
      'operators',
      'dota:',
      'qdota:',
      'lora:',
      'full:',
      'small buffers',
      'left by',
    ]) {
      expect(named(part), part).not.toEqual([]);
      for (const { verdict } of named(part)) expect(verdict, part).toBe('ok');
    }
    for (const part of ['tokens/s', 'GFLOP/s', 'share of that rate', 'MB on the device'])
      expect(named(part)[0]!.figure, part).toBeGreaterThan(0);
  });
});
