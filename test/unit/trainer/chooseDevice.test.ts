/** Which device a run takes, given what the devices of a machine say; and that they are asked once. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { chooseDevice, hasWebGpu } from '../../../src/trainer/training/chooseDevice';
import {
  type DeviceKind,
  type ProbeAnswer,
  probeCached,
} from '../../../src/trainer/training/probeDevices';

const auto = { device: 'auto', allow_software_gpu: false } as const;

function answer(kind: DeviceKind, gflops: number, software = false): ProbeAnswer {
  return { kind, ok: true, software, gflops, error: 1e-6, bufferMb: kind === 'cpu' ? 0 : 512 };
}

function refused(kind: DeviceKind): ProbeAnswer {
  const error = { code: 'device.unavailable' as const, message: 'No adapter.', next: 'Drive.' };
  return { kind, ok: false, error, stderr: '' };
}

/** A machine whose devices say this, and which of them were asked. */
function machine(webgpu: ProbeAnswer, cpu: ProbeAnswer) {
  const asked: DeviceKind[] = [];
  const ask = (kind: DeviceKind): Promise<ProbeAnswer> => {
    asked.push(kind);
    return Promise.resolve(kind === 'cpu' ? cpu : webgpu);
  };
  return { ask, asked };
}

describe.runIf(hasWebGpu())('device: auto', () => {
  it.each([
    ['a GPU that is faster than the processor', answer('webgpu', 900), answer('cpu', 80), 'webgpu'],
    ['the processor where the GPU is slower', answer('webgpu', 40), answer('cpu', 80), 'cpu'],
    [
      'the processor where the GPU is software, whatever its rate',
      answer('webgpu', 900, true),
      answer('cpu', 80),
      'cpu',
    ],
    ['the processor where no GPU answers', refused('webgpu'), answer('cpu', 80), 'cpu'],
    [
      'the GPU where the processor computes wrongly',
      answer('webgpu', 40),
      refused('cpu'),
      'webgpu',
    ],
  ] as const)('takes %s', async (_, webgpu, cpu, expected) => {
    const { kind, bufferBytes } = await chooseDevice(auto, machine(webgpu, cpu).ask);
    expect(kind).toBe(expected);
    expect(bufferBytes).toBe(expected === 'webgpu' ? 512 * 2 ** 20 : undefined);
  });
});

describe('a device by its name', () => {
  it('is taken without asking where it is the processor', async () => {
    const { ask, asked } = machine(answer('webgpu', 900), answer('cpu', 80));
    expect((await chooseDevice({ ...auto, device: 'cpu' }, ask)).kind).toBe('cpu');
    expect(asked).toEqual([]);
  });

  it('is refused where it is a software GPU that was not allowed', async () => {
    const { ask } = machine(answer('webgpu', 20, true), answer('cpu', 80));
    await expect(chooseDevice({ ...auto, device: 'webgpu' }, ask)).rejects.toMatchObject({
      code: 'device.unavailable',
    });
    const allowed = await chooseDevice({ device: 'webgpu', allow_software_gpu: true }, ask);
    expect(allowed).toMatchObject({ kind: 'webgpu', name: 'WebGPU (software)' });
  });

  it('is refused with the reason where it does not open', async () => {
    const { ask } = machine(refused('webgpu'), answer('cpu', 80));
    await expect(chooseDevice({ ...auto, device: 'webgpu' }, ask)).rejects.toMatchObject({
      code: 'device.unavailable',
      message: 'No adapter.',
    });
  });
});

describe('a probe that was answered', () => {
  let place: string;
  let log: string;
  beforeEach(() => {
    place = mkdtempSync(path.join(tmpdir(), 'dota-choose-'));
    log = path.join(place, 'asked');
    writeFileSync(log, '');
    vi.stubEnv('TMPDIR', place);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(place, { recursive: true, force: true });
  });

  /** Probes in a process that notes that it was asked, and says this. */
  function ask(kind: DeviceKind, key: string, says: object): Promise<ProbeAnswer> {
    const source =
      `require('fs').appendFileSync(${JSON.stringify(log)}, 'x'); ` +
      `console.log(${JSON.stringify(JSON.stringify(says))})`;
    return probeCached(kind, key, { command: [process.execPath, '-e', source] });
  }
  const asked = (): number => readFileSync(log, 'utf8').length;
  const good = { gflops: 50, error: 1e-6, bufferMb: 0 };

  it('is not asked again on the same driver and runtime', async () => {
    const first = await ask('cpu', '1.30.0', good);
    const second = await ask('cpu', '1.30.0', { ...good, gflops: 1 });
    expect(first).toMatchObject({ ok: true, gflops: 50 });
    expect(second).toMatchObject({ ok: true, gflops: 50 });
    expect(asked()).toBe(1);
  });

  it('is asked again by another runtime, for another device and on another driver', async () => {
    await ask('cpu', '1.30.0', good);
    await ask('cpu', '1.31.0', good);
    await ask('webgpu', '1.30.0', good);
    expect(asked()).toBe(3);
    const manifest = path.join(place, 'driver.json');
    writeFileSync(manifest, '{"ICD": {"library_path": "libnew.so"}}');
    vi.stubEnv('VK_ICD_FILENAMES', manifest);
    vi.stubEnv('VK_DRIVER_FILES', manifest);
    await ask('webgpu', '1.30.0', good);
    expect(asked()).toBe(process.platform === 'linux' ? 4 : 3);
  });

  it('is asked again after a refusal: what it complained of may have been repaired', async () => {
    expect(await ask('cpu', '1.30.0', { error: { message: 'broken' } })).toMatchObject({
      ok: false,
    });
    expect(await ask('cpu', '1.30.0', good)).toMatchObject({ ok: true });
    expect(asked()).toBe(2);
  });

  it('is asked again where the note of it is damaged', async () => {
    await ask('cpu', '1.30.0', good);
    const notes = readdirSync(place, { recursive: true, encoding: 'utf8' });
    const note = notes.find((name) => path.basename(name).startsWith('probe-cpu-'));
    writeFileSync(path.join(place, note ?? 'none'), '{"version": 1, "kind": "cpu", "gflops": "fa');
    expect(await ask('cpu', '1.30.0', good)).toMatchObject({ ok: true });
    expect(asked()).toBe(2);
  });
});
