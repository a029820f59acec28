/** Software drivers beside a GPU's: neither a probe nor a trainer takes them unasked. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { softwareGpuEnvironment, softwareGpuSupported } from '../../../scripts/software-gpu.mjs';
import { type Ask, chooseDevice } from '../../../src/trainer/training/chooseDevice';
import { deviceOrder } from '../../../src/trainer/training/deviceOrder';
import { probeInChild, rememberProbe } from '../../../src/trainer/training/probeDevices';
import { runtimeVersion } from '../../../src/trainer/training/runtimeVersion';
import { hardwareDrivers, vulkanParts } from '../../../src/trainer/training/vulkan';
import { cli, runCli } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

let place: string;
beforeAll(() => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-drivers-'));
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

/** A manifest below `place` that names this library. */
function manifest(name: string, library: string): string {
  const file = path.join(place, name);
  mkdirSync(path.dirname(file), { recursive: true });
  const text = { file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.1' } };
  writeFileSync(file, JSON.stringify(text));
  return file;
}

describe.runIf(process.platform === 'linux')('the drivers that a run may load', () => {
  let radeon: string;
  let lvp: string;
  beforeAll(() => {
    // That the library is there is all that is asked of it.
    radeon = manifest('share/vulkan/icd.d/radeon_icd.x86_64.json', process.execPath);
    lvp = manifest('share/vulkan/icd.d/lvp_icd.x86_64.json', process.execPath);
  });

  it('are those of GPUs, under both names that loaders know, where there are some', () => {
    const env = { VK_ICD_FILENAMES: `${lvp}:${radeon}`, OTHER: 'kept' };
    expect(hardwareDrivers(env)).toEqual({
      VK_DRIVER_FILES: radeon,
      VK_ICD_FILENAMES: radeon,
      OTHER: 'kept',
    });
    // A second look changes nothing.
    expect(hardwareDrivers(hardwareDrivers(env))).toEqual(hardwareDrivers(env));
    expect(hardwareDrivers({ ...env, VK_DRIVER_FILES: path.dirname(lvp) })).toMatchObject({
      VK_DRIVER_FILES: radeon,
    });
    // By the library's name as well.
    const renamed = manifest('mesa.json', 'libvulkan_lvp.so');
    expect(hardwareDrivers({ VK_DRIVER_FILES: `${renamed}:${radeon}` })['VK_DRIVER_FILES']).toBe(
      radeon,
    );
  });

  it('are left alone where all are of a kind, and elsewhere than on Linux', () => {
    for (const files of [radeon, lvp]) {
      const env = { VK_DRIVER_FILES: files };
      expect(hardwareDrivers(env)).toBe(env);
    }
    const both = { VK_DRIVER_FILES: `${lvp}:${radeon}` };
    expect(hardwareDrivers(both, 'win32')).toBe(both);
    expect(hardwareDrivers(both, 'darwin')).toBe(both);
    // That there is software alone is told, which says more than that there is nothing.
    const broken = manifest('intel_icd.json', 'libvulkan_gone.so');
    const softwareAlone = { VK_DRIVER_FILES: `${lvp}:${broken}` };
    expect(hardwareDrivers(softwareAlone)).toBe(softwareAlone);
    expect(vulkanParts(softwareAlone).softwareOnly).toBe(true);
  });

  it('are looked for where the loader does', () => {
    const found = (env: NodeJS.ProcessEnv): string[] =>
      vulkanParts({ HOME: place, ...env }).drivers.map(({ manifest: file }) => file);
    expect(found({ XDG_DATA_DIRS: `/nowhere:${path.join(place, 'share')}` })).toContain(radeon);
    expect(found({ XDG_DATA_HOME: path.join(place, 'share') })).toContain(lvp);
    expect(found({ VK_ADD_DRIVER_FILES: radeon })).toContain(radeon);
    const own = manifest('.config/vulkan/icd.d/own.json', 'own.so');
    expect(found({})).toContain(own);
    expect(found({ XDG_CONFIG_HOME: '/nowhere' })).not.toContain(own);
  });

  it('are those of both the probe and the process that chose', async () => {
    vi.stubEnv('VK_DRIVER_FILES', `${lvp}:${radeon}`);
    vi.stubEnv('VK_ICD_FILENAMES', '');
    const asked: (string | undefined)[] = [];
    const ask: Ask = (kind, env) => {
      asked.push(env['VK_DRIVER_FILES']);
      const software = false;
      return Promise.resolve({ kind, ok: true, software, gflops: 9, error: 0, bufferMb: 512 });
    };
    const order = deviceOrder('linux', 'x64');
    try {
      await chooseDevice({ device: 'webgpu', allow_software_gpu: true }, ask, order);
      expect(process.env['VK_DRIVER_FILES']).toBe(`${lvp}:${radeon}`);
      await chooseDevice({ device: 'webgpu', allow_software_gpu: false }, ask, order);
      expect(process.env['VK_DRIVER_FILES']).toBe(radeon);
      expect(process.env['VK_ICD_FILENAMES']).toBe(radeon);
      expect(asked).toEqual([`${lvp}:${radeon}`, radeon]);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

describe.runIf(softwareGpuSupported)(
  'a software driver that works beside a GPU’s that finds none',
  () => {
    let env: Record<string, string>;
    beforeAll(async () => {
      await writeTinyWorkspace(place);
      const software = softwareGpuEnvironment();
      // A library that loads and is no driver: as the driver of a GPU that isn't there, it gives nothing.
      const library = path.join(software['LD_LIBRARY_PATH']!, 'libGLESv2.so');
      const both = `${manifest('radeon_icd.json', library)}:${software['VK_ICD_FILENAMES']!}`;
      env = { ...software, VK_ICD_FILENAMES: both, VK_DRIVER_FILES: both };
    });
    beforeEach(() => {
      env['TMPDIR'] = mkdtempSync(path.join(place, 'tmp-'));
    });
    afterAll(() => {
      vi.unstubAllEnvs();
    });

    it('answers a probe only where it may', async () => {
      const own = { ...process.env, NODE_OPTIONS: '', ...env };
      const command = [process.execPath, cli, 'probe-device', 'webgpu'];
      const probe = (drivers: NodeJS.ProcessEnv) =>
        probeInChild('webgpu', { command, env: drivers, timeoutMs: 240_000 });
      expect((await probe(own)).ok).toBe(true);
      const refused = await probe(hardwareDrivers(own));
      expect(!refused.ok && refused.error.message).toContain('no GPU that WebGPU can use');
    });

    it('is not loaded by the trainer, whatever a probe has said', async () => {
      // An answer is kept as if the GPU had given it; its child is this script.
      for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
      const says = JSON.stringify({ gflops: 900, error: 0, bufferMb: 512 });
      const command = [process.execPath, '-e', `console.log(${JSON.stringify(says)})`];
      const drivers = hardwareDrivers({ ...process.env, ...env });
      await rememberProbe('webgpu', await runtimeVersion(), { command, env: drivers });
      const kept = readdirSync(env['TMPDIR']!, { recursive: true, encoding: 'utf8' }).find((name) =>
        path.basename(name).startsWith('probe-webgpu'),
      );
      const file = path.join(env['TMPDIR']!, kept ?? 'none');
      const answer = JSON.parse(readFileSync(file, 'utf8')) as object;
      writeFileSync(file, JSON.stringify({ ...answer, software: false }));
      const once = ['--set', 'training.max_steps=1'];
      const train = ['train', 'tiny.dota.json', '--device', 'webgpu', '--json', ...once];
      const refused = await runCli(train, place, env);
      expect(refused.json?.error).toMatchObject({ code: 'device.unavailable' });
      expect(refused.code).toBe(65);
      const allowed = await runCli([...train, '--allow-software-gpu'], place, env);
      expect(allowed.json).toMatchObject({ state: 'finished' });
    });
  },
);
