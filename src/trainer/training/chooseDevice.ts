/** Which device a run uses, by asking the devices in a process of their own. */
import os from 'node:os';
import type { RunConfig } from '../../config/runConfig';
import { DotaError } from '../../protocol/errors';
import { type DeviceKind, type ProbeAnswer, probeCached } from './probeDevices';
import { gpuStates } from './gpuMemory';
import { runtimeVersion } from './runtimeVersion';

export interface ChosenDevice {
  kind: DeviceKind;
  name: string;
  /** Bytes of a GPU's largest buffer. */
  bufferBytes?: number | undefined;
}

const askDevice = async (kind: DeviceKind): Promise<ProbeAnswer> =>
  probeCached(kind, await runtimeVersion());

/**
 * @param ask what a device of this machine says when it is probed
 * @throws DotaError `device.unavailable` where the device asked for cannot be used, or is a software
 *   GPU that was not allowed
 */
export async function chooseDevice(
  config: Pick<RunConfig, 'device' | 'allow_software_gpu'>,
  ask: (kind: DeviceKind) => Promise<ProbeAnswer> = askDevice,
): Promise<ChosenDevice> {
  switch (config.device) {
    case 'cpu':
      return cpu();
    case 'auto': {
      if (!hasWebGpu()) return cpu();
      const gpu = await ask('webgpu');
      // A software GPU computes on the processor, only slower.
      if (!gpu.ok || gpu.software) return cpu();
      const processor = await ask('cpu');
      const faster = !processor.ok || gpu.gflops > processor.gflops;
      return faster ? webgpu(gpu) : cpu();
    }
    case 'webgpu': {
      const gpu = await ask('webgpu');
      if (!gpu.ok) throw DotaError.from(gpu.error);
      if (gpu.software && !config.allow_software_gpu) {
        throw new DotaError(
          'device.unavailable',
          'The only WebGPU adapter here is software, which is slower than the processor.',
          { next: 'Set "device": "cpu", or "allow_software_gpu": true for a test.' },
        );
      }
      return webgpu(gpu);
    }
  }
}

/** Where the runtime's package has the GPU provider (read from the binaries of version 1.30). */
export function hasWebGpu(): boolean {
  const { platform, arch } = process;
  if (platform === 'linux') return arch === 'x64';
  if (platform === 'darwin') return arch === 'arm64';
  return platform === 'win32';
}

function cpu(): ChosenDevice {
  return { kind: 'cpu', name: os.cpus()[0]?.model.trim() ?? 'CPU' };
}

async function webgpu(gpu: ProbeAnswer & { ok: true }): Promise<ChosenDevice> {
  const name = await gpuName(gpu);
  return { kind: 'webgpu', name, bufferBytes: gpu.bufferMb * 2 ** 20 || undefined };
}

async function gpuName(gpu: ProbeAnswer & { ok: true }): Promise<string> {
  if (gpu.software) return 'WebGPU (software)';
  const [state] = await gpuStates();
  return state === undefined ? 'WebGPU' : `WebGPU (${state.name})`;
}
