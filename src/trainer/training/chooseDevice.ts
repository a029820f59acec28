/** Which device a run uses. */
import os from 'node:os';
import type { RunConfig } from '../../config/runConfig';

/** @throws DotaError `device.unavailable` where the device asked for cannot be used */
export function chooseDevice(
  config: Pick<RunConfig, 'device' | 'allow_software_gpu'>,
): Promise<{ kind: 'cpu' | 'webgpu'; name: string }> {
  switch (config.device) {
    case 'auto':
    case 'cpu':
      return Promise.resolve({ kind: 'cpu', name: os.cpus()[0]?.model.trim() ?? 'CPU' });
    case 'webgpu':
      return Promise.resolve({ kind: 'webgpu', name: 'WebGPU' });
  }
}
