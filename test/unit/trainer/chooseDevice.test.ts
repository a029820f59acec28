/** Which device a run takes, given what the devices of a machine say. */
import { describe, expect, it } from 'vitest';
import { chooseDevice } from '../../../src/trainer/training/chooseDevice';
import { deviceOrder } from '../../../src/trainer/training/deviceOrder';
import type { DeviceKind, ProbeAnswer } from '../../../src/trainer/training/probeDevices';

const auto = { device: 'auto', allow_software_gpu: false } as const;
const allowed = { ...auto, allow_software_gpu: true };
const gpuFirst = deviceOrder('linux', 'x64');
const cpuOnly = deviceOrder('linux', 'arm64');
const nothing = deviceOrder('darwin', 'x64');

function answer(kind: DeviceKind, gflops: number, software = false): ProbeAnswer {
  return { kind, ok: true, software, gflops, error: 1e-6, bufferMb: kind === 'cpu' ? 0 : 512 };
}

function refused(kind: DeviceKind): ProbeAnswer {
  const error = {
    code: 'device.unavailable' as const,
    message: `${kind} does not open.`,
    next: 'Drive.',
  };
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

describe('device: auto where the GPU comes first', () => {
  const processor = answer('cpu', 80);
  it.each([
    [
      'the GPU that is faster',
      auto,
      answer('webgpu', 900),
      processor,
      'webgpu',
      2,
      'The GPU is faster: it computes 900 GFLOP/s, the CPU 80.',
    ],
    [
      'the processor where the GPU is slower',
      auto,
      answer('webgpu', 40),
      processor,
      'cpu',
      2,
      'The GPU is not faster: it computes 40 GFLOP/s, the CPU 80.',
    ],
    [
      'the processor where both are alike',
      auto,
      answer('webgpu', 80),
      processor,
      'cpu',
      2,
      'The GPU is not faster: it computes 80 GFLOP/s, the CPU 80.',
    ],
    [
      'the processor where the GPU is software, whatever its rate',
      auto,
      answer('webgpu', 900, true),
      processor,
      'cpu',
      1,
      'The only WebGPU adapter here is software, which is slower than the processor.',
    ],
    [
      'software that is allowed, but only where it is faster',
      allowed,
      answer('webgpu', 900, true),
      processor,
      'webgpu',
      2,
      'The GPU is faster: it computes 900 GFLOP/s, the CPU 80.',
    ],
    [
      'the processor where software that is allowed is slower',
      allowed,
      answer('webgpu', 9, true),
      processor,
      'cpu',
      2,
      'The GPU is not faster: it computes 9.0 GFLOP/s, the CPU 80.',
    ],
    [
      'the processor where no GPU answers',
      auto,
      refused('webgpu'),
      processor,
      'cpu',
      1,
      'webgpu does not open.',
    ],
    [
      'the GPU where the processor computes wrongly',
      auto,
      answer('webgpu', 40),
      refused('cpu'),
      'webgpu',
      2,
      'The GPU was asked first. cpu does not open.',
    ],
    // What is wrong with it shows when it is opened.
    [
      'the processor where neither answers',
      auto,
      refused('webgpu'),
      refused('cpu'),
      'cpu',
      1,
      'webgpu does not open.',
    ],
  ] as const)('takes %s', async (_, config, webgpu, cpu, expected, times, why) => {
    const { ask, asked } = machine(webgpu, cpu);
    const { kind, bufferBytes, reason } = await chooseDevice(config, ask, gpuFirst);
    expect(kind).toBe(expected);
    expect(reason).toBe(why);
    expect(bufferBytes).toBe(expected === 'webgpu' ? 512 * 2 ** 20 : undefined);
    // One after the other, and the processor only to compare.
    expect(asked).toEqual((['webgpu', 'cpu'] as const).slice(0, times));
  });
});

describe('device: auto', () => {
  it('asks nobody where there is only the processor', async () => {
    const { ask, asked } = machine(answer('webgpu', 900), answer('cpu', 80));
    expect(await chooseDevice(auto, ask, cpuOnly)).toMatchObject({
      kind: 'cpu',
      reason: 'onnxruntime 1.30 has no GPU provider for linux-arm64.',
    });
    expect(asked).toEqual([]);
  });
});

describe('device: auto with the 8-bit optimizer', () => {
  it('is the processor, unasked: no GPU computes it', async () => {
    const { ask, asked } = machine(answer('webgpu', 900), answer('cpu', 80));
    const config = { ...auto, training: { optim: 'adamw_8bit' } } as const;
    expect(await chooseDevice(config, ask, gpuFirst)).toMatchObject({
      kind: 'cpu',
      reason: 'The 8-bit optimizer computes on the CPU only.',
    });
    expect(asked).toEqual([]);
    const other = { ...auto, training: { optim: 'adamw_torch' } } as const;
    expect((await chooseDevice(other, ask, gpuFirst)).kind).toBe('webgpu');
    // Asked for by its name, it is refused where the optimizer starts.
    const named = { ...config, device: 'webgpu' } as const;
    expect((await chooseDevice(named, ask, gpuFirst)).kind).toBe('webgpu');
  });
});

describe('a device by its name', () => {
  it('is taken without asking where it is the processor', async () => {
    const { ask, asked } = machine(answer('webgpu', 900), answer('cpu', 80));
    for (const order of [gpuFirst, cpuOnly]) {
      expect(await chooseDevice({ ...auto, device: 'cpu' }, ask, order)).toMatchObject({
        kind: 'cpu',
        reason: 'The configuration asks for the CPU.',
      });
    }
    expect(asked).toEqual([]);
  });

  it('is taken where it is the GPU, however slow, without asking the processor', async () => {
    const { ask, asked } = machine(answer('webgpu', 4), answer('cpu', 80));
    const chosen = await chooseDevice({ ...auto, device: 'webgpu' }, ask, gpuFirst);
    expect(chosen).toMatchObject({
      kind: 'webgpu',
      bufferBytes: 512 * 2 ** 20,
      reason: 'The configuration asks for the GPU.',
    });
    expect(asked).toEqual(['webgpu']);
  });

  it('is refused where it is a software GPU that was not allowed', async () => {
    const { ask } = machine(answer('webgpu', 20, true), answer('cpu', 80));
    const wanted = { ...auto, device: 'webgpu' } as const;
    await expect(chooseDevice(wanted, ask, gpuFirst)).rejects.toMatchObject({
      code: 'device.unavailable',
    });
    const taken = await chooseDevice({ ...wanted, allow_software_gpu: true }, ask, gpuFirst);
    expect(taken).toMatchObject({ kind: 'webgpu', name: 'WebGPU (software)' });
  });

  it('is refused with the reason where it does not open', async () => {
    const { ask } = machine(refused('webgpu'), answer('cpu', 80));
    await expect(chooseDevice({ ...auto, device: 'webgpu' }, ask, gpuFirst)).rejects.toMatchObject({
      code: 'device.unavailable',
      message: 'webgpu does not open.',
    });
  });

  it('is refused without asking where the platform has it not', async () => {
    const { ask, asked } = machine(answer('webgpu', 900), answer('cpu', 80));
    await expect(chooseDevice({ ...auto, device: 'webgpu' }, ask, cpuOnly)).rejects.toMatchObject({
      code: 'device.unavailable',
      message: expect.stringContaining('no GPU provider for linux-arm64') as string,
      next: expect.stringContaining('"cpu"') as string,
    });
    expect(asked).toEqual([]);
  });
});

describe('a platform without a runtime', () => {
  it.each(['auto', 'cpu', 'webgpu'] as const)(
    'refuses "%s" and says what to do',
    async (device) => {
      const { ask, asked } = machine(answer('webgpu', 900), answer('cpu', 80));
      await expect(chooseDevice({ ...auto, device }, ask, nothing)).rejects.toMatchObject({
        code: 'device.unavailable',
        message: expect.stringContaining('Intel Macs (darwin-x64)') as string,
        next: expect.stringContaining('arm64') as string,
      });
      expect(asked).toEqual([]);
    },
  );
});
