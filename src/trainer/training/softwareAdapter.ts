/** Whether what answers as a GPU is a program on the processor; the runtime does not tell. */
import { type Run, runTool } from './gpuMemory';
import { windowsAdapterNames } from './systemGpus';
import { gpuFiles, vulkanParts } from './vulkan';

/**
 * Adapters that draw and do not compute: Windows' own, and those of virtual machines. Where a machine has no
 * others, Direct3D 12 computes with WARP, which every Windows has.
 */
const drawsOnly = /^microsoft |virtual|vmware|qxl|virtio/i;

/**
 * - Linux: without a device file, or with none but software drivers, Vulkan computes on the processor.
 * - Windows: with no display adapter but such that only draw. What the registry keeps of a GPU that was taken out
 *   counts as there.
 * @param env where Vulkan's drivers are looked up
 */
export async function isSoftwareAdapter(
  env: NodeJS.ProcessEnv,
  platform: NodeJS.Platform = process.platform,
  run: Run = runTool,
): Promise<boolean> {
  switch (platform) {
    case 'linux':
      return gpuFiles().length === 0 || vulkanParts(env).softwareOnly;
    case 'win32': {
      const names = await windowsAdapterNames(run);
      return names.length > 0 && names.every((name) => drawsOnly.test(name));
    }
    default:
      return false;
  }
}
