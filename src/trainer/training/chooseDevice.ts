/** Which device a run uses, by asking the devices in a process of their own. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { RunConfig } from '../../config/runConfig';
import { DotaError, type SerializedError } from '../../protocol/errors';
import { isNumber, isObject, isString } from '../../protocol/guards';

export type DeviceKind = 'cpu' | 'webgpu';

export type ProbeAnswer =
  | { kind: DeviceKind; ok: true; gflops: number; software: boolean }
  | { kind: DeviceKind; ok: false; error: SerializedError };

const probeMs = 60_000;

/**
 * @throws DotaError `device.unavailable` where the device asked for cannot be used, or is a software
 *   GPU that was not allowed
 */
export async function chooseDevice(
  config: Pick<RunConfig, 'device' | 'allow_software_gpu'>,
): Promise<{ kind: DeviceKind; name: string }> {
  switch (config.device) {
    case 'cpu':
      return cpu();
    case 'auto': {
      // A software GPU computes on the processor, only slower.
      if (isSoftwareGpu()) return cpu();
      const [gpu, processor] = [await probeInChild('webgpu'), await probeInChild('cpu')];
      const faster = gpu.ok && processor.ok && gpu.gflops > processor.gflops;
      return faster ? { kind: 'webgpu', name: 'WebGPU' } : cpu();
    }
    case 'webgpu': {
      const gpu = await probeInChild('webgpu');
      if (!gpu.ok) throw DotaError.from(gpu.error);
      if (gpu.software && !config.allow_software_gpu) {
        throw new DotaError(
          'device.unavailable',
          'The only WebGPU adapter here is software, which is slower than the processor.',
          { next: 'Set "device": "cpu", or "allow_software_gpu": true for a test.' },
        );
      }
      return { kind: 'webgpu', name: gpu.software ? 'WebGPU (software)' : 'WebGPU' };
    }
  }
}

function cpu(): { kind: DeviceKind; name: string } {
  return { kind: 'cpu', name: os.cpus()[0]?.model.trim() ?? 'CPU' };
}

/**
 * Opens a device in a child with a deadline: a bad driver can hang or end the process that asks.
 * Never throws.
 */
export function probeInChild(kind: DeviceKind): Promise<ProbeAnswer> {
  const cli = path.join(__dirname, 'cli.cjs');
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [cli, 'probe-device', kind],
      { timeout: probeMs, killSignal: 'SIGKILL', windowsHide: true, maxBuffer: 1 << 24 },
      (_error, stdout, stderr) => {
        resolve(answerOf(kind, stdout, stderr));
      },
    );
  });
}

function answerOf(kind: DeviceKind, stdout: string, stderr: string): ProbeAnswer {
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  try {
    const raw: unknown = JSON.parse(line);
    if (isObject(raw) && isNumber(raw.gflops)) {
      return {
        kind,
        ok: true,
        gflops: raw.gflops,
        software: kind === 'webgpu' && isSoftwareGpu(),
      };
    }
    if (isObject(raw) && isObject(raw.error) && isString(raw.error.message)) {
      return { kind, ok: false, error: raw.error as unknown as SerializedError };
    }
  } catch {
    // It died before it could answer.
  }
  const reason = stderr.trim().split('\n').at(-1) ?? '';
  return {
    kind,
    ok: false,
    error: {
      code: 'device.unavailable',
      message: `The device "${kind}" did not answer${reason === '' ? '' : `: ${reason}`}.`,
      next: 'Update the driver, or set "device": "cpu".',
    },
  };
}

/** On Linux a GPU has a device file; without one, Vulkan can only be software. */
function isSoftwareGpu(): boolean {
  if (process.platform !== 'linux') return false;
  const has = (folder: string, pattern: RegExp): boolean => {
    try {
      return readdirSync(folder).some((name) => pattern.test(name));
    } catch {
      return false;
    }
  };
  return !has('/dev/dri', /^renderD\d+$/) && !has('/dev', /^(nvidia\d+|dxg)$/);
}
