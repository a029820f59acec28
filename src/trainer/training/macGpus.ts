/** What macOS says about its GPUs. */
import { isObject, isString } from '../../protocol/guards';
import type { GpuState, Run } from './gpuMemory';
import { hostMemoryMb, memoryOf, sharedMemory, vendorOf } from './systemGpus';

/**
 * Share of the machine's memory that Metal keeps for an Apple GPU unless told otherwise. Measured by others:
 * 11.84 of 16 GB (M3), 17.76 of 24 GB, 107.5 of 128 GB (M5 Max); smaller machines and older systems are known
 * to give two thirds.
 */
const appleShare = 2 / 3;

/**
 * `system_profiler` is documented, the keys of its JSON are known from practice alone: `sppci_model`, and for
 * GPUs with memory of their own `spdisplays_vram`, as `8 GB`. An Apple GPU's limit can be set by
 * `iogpu.wired_limit_mb`, in MiB; 0 leaves it to the system.
 */
export async function macGpus(run: Run, hostMb = hostMemoryMb()): Promise<GpuState[]> {
  const [printed, limit] = await Promise.all([
    run('system_profiler', ['SPDisplaysDataType', '-json']),
    run('sysctl', ['-n', 'iogpu.wired_limit_mb']),
  ]);
  const set = Number((limit ?? '').trim());
  const appleMb = set > 0 ? Math.min(set, hostMb) : Math.round(appleShare * hostMb);
  return displays(printed ?? '').flatMap((display): GpuState[] => {
    const name = display['sppci_model'];
    if (!isString(name)) return [];
    const vendor = vendorOf(name);
    if (vendor === undefined) return [];
    // The driver is a part of the system.
    const gpu = { vendor, name, driver: undefined };
    if (vendor === 'apple') {
      return [{ ...gpu, totalMb: appleMb, usedMb: undefined, shared: true }];
    }
    const ownMb = megabytes(display['spdisplays_vram']);
    return [{ ...gpu, ...(ownMb ? memoryOf(ownMb, undefined, hostMb) : sharedMemory(hostMb)) }];
  });
}

function displays(printed: string): Record<string, unknown>[] {
  let profile: unknown;
  try {
    profile = JSON.parse(printed);
  } catch {
    return [];
  }
  const list: unknown = isObject(profile) ? profile['SPDisplaysDataType'] : undefined;
  return Array.isArray(list) ? list.filter(isObject) : [];
}

/** `8 GB` or `1536 MB`. */
function megabytes(text: unknown): number | undefined {
  const [, size, unit] = /^(\d+) (MB|GB)$/.exec(isString(text) ? text.trim() : '') ?? [];
  if (size === undefined) return undefined;
  return Number(size) * (unit === 'GB' ? 1024 : 1);
}
