/** Why a Linux machine has no GPU that WebGPU can use, from what its Vulkan installation consists of. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export interface VulkanParts {
  /** The loader, `libvulkan.so.1`; undefined where it isn't found. */
  loader: string | undefined;
  /** One a driver: its manifest, and the library that it names, undefined where that is missing. */
  drivers: { manifest: string; names: string; library: string | undefined }[];
  /** True when every driver computes on the processor. */
  softwareOnly: boolean;
}

export const vulkanLoader = 'libvulkan.so.1';

const libraryFolders = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/lib/aarch64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/lib64',
  '/usr/lib64',
  '/lib',
  '/usr/lib',
  '/usr/local/lib',
];
const manifestFolders = [
  '/etc/vulkan/icd.d',
  '/usr/share/vulkan/icd.d',
  '/usr/local/share/vulkan/icd.d',
];
const softwareDriver = /swiftshader|lvp|lavapipe|llvmpipe/i;

/** @param env where `LD_LIBRARY_PATH` and the loader's own variables are looked up */
export function vulkanParts(env: NodeJS.ProcessEnv = process.env): VulkanParts {
  const own = (env['LD_LIBRARY_PATH'] ?? '').split(':').filter((folder) => folder !== '');
  const find = (name: string, beside: string[] = []): string | undefined => {
    if (path.isAbsolute(name)) return existsSync(name) ? name : undefined;
    return [...beside, ...own, ...libraryFolders]
      .map((folder) => path.join(folder, name))
      .find(existsSync);
  };
  const drivers = manifests(env).map((manifest) => {
    const names = libraryName(manifest);
    const beside = names.includes('/') ? [path.dirname(manifest)] : [];
    return { manifest, names, library: names === '' ? undefined : find(names, beside) };
  });
  const usable = drivers.filter(({ library }) => library !== undefined);
  return {
    loader: find(vulkanLoader),
    drivers,
    softwareOnly:
      usable.length > 0 && usable.every(({ manifest }) => softwareDriver.test(manifest)),
  };
}

function manifests(env: NodeJS.ProcessEnv): string[] {
  const named = env['VK_DRIVER_FILES'] ?? env['VK_ICD_FILENAMES'];
  if (named !== undefined && named !== '') return named.split(':');
  return manifestFolders.flatMap((folder) => {
    try {
      return readdirSync(folder)
        .filter((name) => name.endsWith('.json'))
        .map((name) => path.join(folder, name));
    } catch {
      return [];
    }
  });
}

/** The library that a driver's manifest names; empty where the file is no manifest. */
function libraryName(manifest: string): string {
  try {
    const { ICD } = JSON.parse(readFileSync(manifest, 'utf8')) as {
      ICD?: { library_path?: unknown };
    };
    return typeof ICD?.library_path === 'string' ? ICD.library_path : '';
  } catch {
    return '';
  }
}

/** What is wrong, and what to do about it; undefined where nothing in the installation explains it. */
export function explainVulkan(parts: VulkanParts): { message: string; next: string } | undefined {
  const { loader, drivers } = parts;
  if (loader === undefined) {
    return {
      message: `The Vulkan loader, ${vulkanLoader}, is missing.`,
      next:
        'Install it: "libvulkan1" on Debian and Ubuntu, "vulkan-loader" on Fedora, ' +
        '"vulkan-icd-loader" on Arch.',
    };
  }
  if (drivers.length === 0) {
    return {
      message: 'No driver has registered with the Vulkan loader.',
      next:
        'Install the GPU’s Vulkan driver: "mesa-vulkan-drivers" for AMD and Intel, the proprietary ' +
        'driver’s graphics part for NVIDIA (in a container: NVIDIA_DRIVER_CAPABILITIES=graphics,compute,utility).',
    };
  }
  const broken = drivers.find(({ library }) => library === undefined);
  if (broken && drivers.every(({ library }) => library === undefined)) {
    const what =
      broken.names === ''
        ? 'it is missing or is no driver manifest'
        : `it names ${broken.names}, which is not there`;
    return {
      message: `The Vulkan driver of ${broken.manifest} cannot be loaded: ${what}.`,
      next: 'Install the driver package again, so that its library and this file belong together.',
    };
  }
  return undefined;
}

/**
 * Everything whose change may change what a probe finds, as one line, found without starting a process. On
 * Windows that is the store of driver packages, whose folder is written to when any driver comes or goes; on
 * macOS drivers come with the system.
 */
export function driverFingerprint(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  const { loader, drivers } = vulkanParts(env);
  const stamp = (file: string | undefined): string => {
    if (file === undefined) return 'none';
    try {
      const { mtimeMs, size } = statSync(file);
      return `${file}:${size}:${Math.round(mtimeMs)}`;
    } catch {
      return `${file}:none`;
    }
  };
  const store = path.join('System32', 'DriverStore', 'FileRepository');
  return [
    os.release(),
    ...(platform === 'win32' ? [stamp(path.join(env['SystemRoot'] ?? 'C:\\Windows', store))] : []),
    stamp(loader),
    ...drivers.map(({ manifest, library }) => `${stamp(manifest)}>${stamp(library)}`),
    nvidiaDriver() ?? '',
    ...gpuFiles(),
  ].join(' ');
}

/** The kernel module's version, where NVIDIA's is loaded. */
export function nvidiaDriver(): string | undefined {
  try {
    const text = readFileSync('/proc/driver/nvidia/version', 'utf8');
    return /Kernel Module\s+(?:for \S+\s+)?([\d.]+)/.exec(text)?.[1];
  } catch {
    return undefined;
  }
}

/** On Linux a GPU has a device file. */
export function gpuFiles(): string[] {
  const list = (folder: string, pattern: RegExp): string[] => {
    try {
      return readdirSync(folder)
        .filter((name) => pattern.test(name))
        .map((name) => path.join(folder, name));
    } catch {
      return [];
    }
  };
  return [...list('/dev/dri', /^renderD\d+$/), ...list('/dev', /^(nvidia\d+|dxg)$/)];
}
