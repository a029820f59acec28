/** What is made of devices that answer, lie, hang, crash or aren't there. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuEnvironment, softwareGpuSupported } from '../../../scripts/software-gpu.mjs';
import { deviceCheck, gpuCheck } from '../../../src/trainer/commands/doctor';
import { deviceOrder } from '../../../src/trainer/training/deviceOrder';
import { probeInChild, type ProbeAnswer } from '../../../src/trainer/training/probeDevices';
import {
  driverFingerprint,
  explainVulkan,
  vulkanParts,
} from '../../../src/trainer/training/vulkan';
import { cli, runCli } from './cliHarness';

let place: string;
beforeAll(() => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-probe-'));
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

/** Long enough for a machine that stands still for a while; a probe that is to hang has its own. */
const patience = 240_000;

/** A probe that is this script. */
function fake(script: string, timeoutMs = patience): Promise<ProbeAnswer> {
  return probeInChild('webgpu', { command: [process.execPath, '-e', script], timeoutMs, env: {} });
}

/** The real probe, with these variables of the Vulkan loader. */
function real(env: Record<string, string>): Promise<ProbeAnswer> {
  const clean = { ...process.env, NODE_OPTIONS: '', LD_LIBRARY_PATH: '', VK_ICD_FILENAMES: '' };
  const command = [process.execPath, cli, 'probe-device', 'webgpu'];
  return probeInChild('webgpu', { command, env: { ...clean, ...env }, timeoutMs: patience });
}

function refusal(answer: ProbeAnswer): { message: string; next: string; stderr: string } {
  if (answer.ok) throw new Error('the device was accepted');
  return { message: answer.error.message, next: answer.error.next ?? '', stderr: answer.stderr };
}

describe('a probe', () => {
  it('that hangs is ended at its deadline', async () => {
    // The script never ends by itself.
    const { message, next } = refusal(await fake('setInterval(() => {}, 1000)', 1500));
    expect(message).toContain('did not answer within 2 s');
    expect(next).toContain('driver');
  });

  it('that crashes is reported with its signal and its last words', async () => {
    const script =
      'console.error("first\\nterminate called"); process.kill(process.pid, "SIGSEGV"); setInterval(() => {}, 9)';
    const { message, stderr } = refusal(await fake(script));
    expect(message).toContain('crashed (SIGSEGV): terminate called');
    expect(stderr).toBe('first\nterminate called');
  });

  it('is told in whole sentences, without the runtime’s stack', async () => {
    const script = (end: string) =>
      'console.error("Warning: no device\\n    at operator() (/build/Release/dawn.cpp:9)\\n   at Run");' +
      end;
    const crash = 'process.kill(process.pid, "SIGABRT"); setInterval(() => {}, 9)';
    const crashed = refusal(await fake(script(crash)));
    expect(crashed.message).toMatch(/crashed \(SIGABRT\): Warning: no device\.$/);
    expect(crashed.stderr).toBe('Warning: no device');
    const says = {
      error: { code: 'device.unavailable', message: 'It broke.\n    at Run (a.cpp:1)' },
    };
    const told = await fake(script(`console.log(${JSON.stringify(JSON.stringify(says))})`));
    expect(refusal(told).message).toMatch(/^It broke\./);
    expect(refusal(told).message).not.toContain('a.cpp');
  });

  it('that misses a library names it', async () => {
    const script =
      'console.error("libfoo_driver.so.9: cannot open shared object file: No such file"); process.exit(127)';
    const { message, next } = refusal(await fake(script));
    expect(message).toContain('libfoo_driver.so.9');
    expect(next).toContain('libfoo_driver.so.9');
  });

  it.each(['', 'not JSON', '{"gflops": "fast"}', '{"gflops": -1, "error": 0, "bufferMb": 0}'])(
    'that answers %j is refused',
    async (answer) => {
      const { message } = refusal(await fake(`console.log(${JSON.stringify(answer)})`));
      expect(message).toContain('without an answer');
    },
  );
});

describe('a probe’s numbers', () => {
  const says = (answer: object) => fake(`console.log(${JSON.stringify(JSON.stringify(answer))})`);
  const good = { gflops: 900, error: 9e-5, bufferMb: 512 };

  it('are checked here as well: an error as of half precision is refused', async () => {
    expect(await says(good)).toMatchObject({ ok: true, error: 9e-5 });
    for (const error of [1e-4, 0.7, 1e300]) {
      const { message, next } = refusal(await says({ ...good, error }));
      expect(message).toContain('computes wrong numbers in fp32');
      expect(next).toContain('driver');
    }
  });

  it('in half precision are right, wrong or none, and none of it refuses the device', async () => {
    const text = async (answer: object): Promise<string> => {
      const probed = await says({ ...good, ...answer });
      if (!probed.ok) throw new Error('the device was refused');
      return deviceCheck({ ...probed, software: false }).text;
    };
    expect(await text({})).toContain('no half precision (not needed)');
    expect(await text({ halfError: 2e-3 })).toContain('half precision checked (error 2.0e-3)');
    // What is not a number counts as this.
    expect(await text({ halfError: Number.MAX_VALUE })).toContain(
      'half precision computes wrongly, which training does not need (error 1.8e+308)',
    );
  });
});

describe('doctor’s line of a GPU', () => {
  it('says whether the driver is a version or the kernel’s module', () => {
    const card = { vendor: 'nvidia', name: 'RTX', totalMb: 9, usedMb: 1 } as const;
    const text = (driver: string | undefined) => gpuCheck({ ...card, driver }).text;
    expect(text('550.54.14')).toBe('RTX: 1 of 9 MB in use, driver 550.54.14');
    expect(text('i915')).toBe('RTX: 1 of 9 MB in use, kernel module i915');
    expect(text(undefined)).toBe('RTX: 1 of 9 MB in use');
  });

  it('says what CUDA would need', () => {
    const why = deviceOrder('linux', 'x64').leftOut.find(({ device }) => device === 'cuda')?.why;
    for (const part of ['provider library', 'CUDA 12', 'cuDNN 9', 'WebGPU']) {
      expect(why).toContain(part);
    }
  });
});

describe.runIf(process.platform === 'linux')('Vulkan', () => {
  const manifest = (name: string, text: string): string => {
    const file = path.join(place, name);
    writeFileSync(file, text);
    return file;
  };
  const loaderFolder = (): string => {
    const folder = path.join(place, 'loader');
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'libvulkan.so.1'), '');
    return folder;
  };

  it('is explained where its loader, its drivers or a driver’s library are missing', () => {
    const loader = loaderFolder();
    const broken = manifest(
      'broken.json',
      JSON.stringify({ ICD: { library_path: 'libno_such_driver.so.0' } }),
    );
    const explain = (env: NodeJS.ProcessEnv) => explainVulkan(vulkanParts(env));
    const withLoader = { LD_LIBRARY_PATH: loader };
    expect(explain({ ...withLoader, VK_ICD_FILENAMES: broken })?.message).toContain(
      'libno_such_driver.so.0',
    );
    const garbage = manifest('garbage.json', 'not JSON');
    expect(explain({ ...withLoader, VK_ICD_FILENAMES: garbage })?.message).toContain(
      'no driver manifest',
    );
    expect(
      explainVulkan({ loader: undefined, drivers: [], softwareOnly: false })?.message,
    ).toContain('libvulkan.so.1');
    expect(explainVulkan({ loader, drivers: [], softwareOnly: false })?.next).toContain(
      'mesa-vulkan-drivers',
    );
  });

  it('has another fingerprint when a driver changes', () => {
    const file = manifest('changing.json', JSON.stringify({ ICD: { library_path: 'a.so' } }));
    const env = { VK_ICD_FILENAMES: file };
    const before = driverFingerprint(env);
    expect(driverFingerprint(env)).toBe(before);
    manifest('changing.json', JSON.stringify({ ICD: { library_path: 'another.so' } }));
    expect(driverFingerprint(env)).not.toBe(before);
  });

  it('of Windows counts by the packages in its store of drivers', () => {
    const store = path.join(place, 'System32', 'DriverStore', 'FileRepository');
    mkdirSync(store, { recursive: true });
    utimesSync(store, 1e9, 1e9);
    const stored = (): string => driverFingerprint({ SystemRoot: place }, 'win32');
    const before = stored();
    expect(stored()).toBe(before);
    // The folder's own time is set by the new entry.
    mkdirSync(path.join(store, 'nv_dispi.inf_amd64_1'));
    expect(stored()).not.toBe(before);
  });

  it('that is broken is refused with the missing library', async () => {
    if (!softwareGpuSupported) return;
    const broken = manifest(
      'real.json',
      JSON.stringify({ file_format_version: '1.0.0', ICD: { library_path: 'libgone.so.0' } }),
    );
    const { message } = refusal(
      await real({ ...softwareGpuEnvironment(), VK_ICD_FILENAMES: broken }),
    );
    expect(message).toContain('libgone.so.0');
  });
});

describe.runIf(softwareGpuSupported)('a software adapter', () => {
  it('is recognised, checked in both precisions, and refused by doctor', async () => {
    const answer = await real(softwareGpuEnvironment());
    expect(answer).toMatchObject({ ok: true, software: true });
    if (!answer.ok) return;
    expect(answer.error).toBeLessThan(1e-4);
    expect(answer.bufferMb).toBeGreaterThanOrEqual(128);
    // SwiftShader has no half precision.
    expect(answer.halfError).toBeUndefined();
    const doctor = await runCli(['doctor', '--json'], place, softwareGpuEnvironment());
    expect(doctor.code).toBe(0);
    const checks = doctor.json?.checks as { name: string; ok: boolean; text: string }[];
    const webgpu = checks.find(({ name }) => name === 'device webgpu')!;
    expect(webgpu).toMatchObject({ ok: false });
    expect(webgpu.text).toContain('refused: a software adapter');
  });
});
