/** Why a Linux machine has no GPU that WebGPU can use, from what its Vulkan installation consists of. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

interface VulkanDriver {
  manifest: string;
  names: string;
  library: string | undefined;
}

export interface VulkanParts {
  /** The loader, `libvulkan.so.1`; undefined where it isn't found. */
  loader: string | undefined;
  /** One a driver: its manifest, and the library that it names, undefined where that is missing. */
  drivers: VulkanDriver[];
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
/** Where packages put manifests whatever the environment says. */
const manifestRoots = ['/usr/local/etc', '/etc', '/usr/local/share', '/usr/share'];
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
    softwareOnly: usable.length > 0 && usable.every(isSoftware),
  };
}

function isSoftware({ manifest, names }: VulkanDriver): boolean {
  return softwareDriver.test(path.basename(manifest)) || softwareDriver.test(path.basename(names));
}

/**
 * `env` with drivers that compute on the processor left out of what the loader finds. Distributions install them
 * beside the GPUs' (Mesa has both in one package), and where no GPU answers its driver, as in many virtual
 * machines, the loader would give the one of software unasked. Where there are no others nothing is left out:
 * that it is software is told then.
 */
export function hardwareDrivers(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): NodeJS.ProcessEnv {
  if (platform !== 'linux') return env;
  const { drivers, softwareOnly } = vulkanParts(env);
  const hardware = drivers.filter((driver) => !isSoftware(driver));
  if (softwareOnly || hardware.length === 0 || hardware.length === drivers.length) return env;
  const files = hardware.map(({ manifest }) => manifest).join(':');
  // Loaders before 1.3.207 know the second name only.
  return { ...env, VK_DRIVER_FILES: files, VK_ICD_FILENAMES: files };
}

/** In the order of the loader's documentation ("Driver Discovery on Linux"). */
function manifests(env: NodeJS.ProcessEnv): string[] {
  const list = (name: string): string[] =>
    (env[name] ?? '').split(':').filter((entry) => entry !== '');
  const named = list(env['VK_DRIVER_FILES'] ? 'VK_DRIVER_FILES' : 'VK_ICD_FILENAMES');
  if (named.length > 0) return named.flatMap(manifestsIn);
  const home = env['HOME'] ?? os.homedir();
  const roots = [
    env['XDG_CONFIG_HOME'] || path.join(home, '.config'),
    ...list('XDG_CONFIG_DIRS'),
    '/etc/xdg',
    env['XDG_DATA_HOME'] || path.join(home, '.local', 'share'),
    ...list('XDG_DATA_DIRS'),
    ...manifestRoots,
  ];
  const folders = new Set(roots.map((root) => path.join(root, 'vulkan', 'icd.d')));
  return [...list('VK_ADD_DRIVER_FILES'), ...folders].flatMap(manifestsIn);
}

/** Of a folder, those in it; nothing where a folder is missing. */
function manifestsIn(place: string): string[] {
  if (place.endsWith('.json')) return [place];
  try {
    return readdirSync(place)
      .filter((name) => name.endsWith('.json'))
      .sort()
      .map((name) => path.join(place, name));
  } catch {
    return [];
  }
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
