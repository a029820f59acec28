/** Memory that a run may take: what the estimate is held against. */
import os from 'node:os';
import type { DeviceKind } from './probeDevices';
import { gpuStates } from './gpuMemory';

/** Left to the editor and everything else. */
const reserve = 0.1;

/** Bytes; undefined where neither a vendor's tool nor the system knows the GPU's memory. */
export async function availableMemory(kind: DeviceKind): Promise<number | undefined> {
  switch (kind) {
    case 'cpu':
      return (1 - reserve) * hostMemory();
    case 'webgpu': {
      const [gpu] = await gpuStates();
      if (gpu === undefined) {
        // Apple's GPUs share the machine's memory.
        return process.platform === 'darwin' ? (1 - reserve) * hostMemory() : undefined;
      }
      const free = (gpu.totalMb - (gpu.usedMb ?? 0)) * 2 ** 20;
      return (1 - reserve) * (gpu.shared ? Math.min(free, hostMemory()) : free);
    }
  }
}

/** What is free, or can be freed without swapping, within the limit of a container. */
function hostMemory(): number {
  const limit = process.constrainedMemory();
  const limited = limit > 0 && limit < os.totalmem() ? limit - process.memoryUsage.rss() : Infinity;
  // macOS counts as free only what was never used; caches and inactive pages are given up on demand.
  const free = process.platform === 'darwin' ? os.totalmem() / 2 : os.freemem();
  return Math.min(limited, Math.max(free, 0));
}
