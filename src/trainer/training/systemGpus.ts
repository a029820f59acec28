/** What the system says about its GPUs where no vendor's tool answers. */
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { GpuState, Run } from './gpuMemory';

/** PCI's vendor numbers. */
const vendors: Readonly<Record<string, GpuState['vendor']>> = {
  '0x10de': 'nvidia',
  '0x1002': 'amd',
  '0x8086': 'intel',
};
const vendorNames = { nvidia: 'NVIDIA', amd: 'AMD', intel: 'Intel', apple: 'Apple' } as const;
/** Where Intel puts the GPU of a processor. */
const intelIntegrated = '0000:00:02.0';
/**
 * A GPU with less memory of its own is part of a processor: what it has is a part of the machine's memory
 * that the firmware has set aside, and it uses the rest as well.
 */
const leastDedicatedMb = 4096;
/** Share of the machine's memory that drivers let such a GPU have: a half to three quarters. */
const sharedPart = 0.5;

/**
 * The kernel's view of Linux: AMD's driver counts its memory, Intel's GPUs inside of processors use the
 * machine's. Of all others (Intel's cards, NVIDIA without its tool) the kernel gives no memory, and
 * they are left out.
 * @param folder `/sys/class/drm`, or one like it
 */
export function linuxGpus(folder = '/sys/class/drm', hostMb = hostMemoryMb()): GpuState[] {
  let cards: string[];
  try {
    cards = readdirSync(folder).filter((name) => /^card\d+$/.test(name));
  } catch {
    return [];
  }
  const states = cards.sort().flatMap((card): GpuState[] => {
    const device = path.join(folder, card, 'device');
    const vendor = vendors[text(device, 'vendor') ?? ''];
    const name = vendor && `${vendorNames[vendor]} GPU ${text(device, 'device') ?? ''}`.trimEnd();
    if (vendor === undefined || name === undefined) return [];
    const driver = linkName(path.join(device, 'driver'));
    const own = megabytes(device, 'mem_info_vram_total');
    if (vendor === 'intel') {
      if (linkName(device) !== intelIntegrated) return [];
      return [{ vendor, name, driver, ...sharedMemory(hostMb) }];
    }
    if (own === undefined) return [];
    return [
      { vendor, name, driver, ...memoryOf(own, megabytes(device, 'mem_info_vram_used'), hostMb) },
    ];
  });
  return dedicatedFirst(states);
}

/**
 * The display adapters of Windows' registry, where drivers write their memory's size; how much of it is
 * in use isn't there. (Microsoft documents `HardwareInformation.MemorySize`, of 32 bits; that drivers write
 * `qwMemorySize` beside it is known from practice alone.)
 */
export async function windowsGpus(run: Run, hostMb = hostMemoryMb()): Promise<GpuState[]> {
  const [sizes, named, versioned] = await Promise.all([
    adapterValues(run, 'HardwareInformation.qwMemorySize'),
    adapterValues(run, 'DriverDesc'),
    adapterValues(run, 'DriverVersion'),
  ]);
  const states = [...sizes].flatMap(([key, size]): GpuState[] => {
    const name = named.get(key)?.value;
    const vendor = vendorOf(name ?? '');
    const totalMb = Math.round(registryNumber(size) / 2 ** 20);
    if (name === undefined || vendor === undefined || !(totalMb > 0)) return [];
    const driver = versioned.get(key)?.value;
    return [{ vendor, name, driver, ...memoryOf(totalMb, undefined, hostMb) }];
  });
  return dedicatedFirst(states);
}

/** Every display adapter that Windows' registry names, whatever it can do; empty where it does not answer. */
export async function windowsAdapterNames(run: Run): Promise<string[]> {
  return [...(await adapterValues(run, 'DriverDesc')).values()].map(({ value }) => value);
}

/** A value of all display adapters, by their keys. */
async function adapterValues(run: Run, value: string): Promise<Map<string, RegistryValue>> {
  const adapters =
    'HKLM\\SYSTEM\\CurrentControlSet\\Control\\Class\\{4d36e968-e325-11ce-bfc1-08002be10318}';
  return registryValues((await run('reg', ['query', adapters, '/s', '/v', value])) ?? '');
}

/**
 * The memory of a GPU of which this much is its own.
 * @param usedMb of its own memory; undefined where nobody counts
 */
export function memoryOf(
  ownMb: number,
  usedMb: number | undefined,
  hostMb = hostMemoryMb(),
): Pick<GpuState, 'totalMb' | 'usedMb' | 'shared'> {
  return ownMb < leastDedicatedMb ? sharedMemory(hostMb) : { totalMb: ownMb, usedMb };
}

/** The memory of a GPU that has none of its own. */
export function sharedMemory(hostMb: number): Pick<GpuState, 'totalMb' | 'usedMb' | 'shared'> {
  return { totalMb: Math.round(sharedPart * hostMb), usedMb: undefined, shared: true };
}

/** The runtime asks for the fast one. */
function dedicatedFirst(states: readonly GpuState[]): GpuState[] {
  return [...states].sort((a, b) => Number(a.shared === true) - Number(b.shared === true));
}

export function vendorOf(name: string): GpuState['vendor'] | undefined {
  if (/\bapple\b/i.test(name)) return 'apple';
  if (/nvidia/i.test(name)) return 'nvidia';
  if (/\b(amd|radeon)\b/i.test(name)) return 'amd';
  return /\bintel\b/i.test(name) ? 'intel' : undefined;
}

interface RegistryValue {
  type: string;
  value: string;
}

/** What `reg query /s /v` prints: a key's line, and below it name, type and value. */
function registryValues(printed: string): Map<string, RegistryValue> {
  const values = new Map<string, RegistryValue>();
  let key = '';
  for (const line of printed.split(/\r?\n/)) {
    if (line.startsWith('HKEY_')) key = line.trim();
    const [, type, value] = /^\s+\S+\s+(REG_\w+)\s+(.+?)\s*$/.exec(line) ?? [];
    if (type !== undefined && value !== undefined) values.set(key, { type, value });
  }
  return values;
}

/** Drivers write the size as a number, or as its eight bytes, the lowest first. */
function registryNumber({ type, value }: RegistryValue): number {
  if (type !== 'REG_BINARY') return Number(value);
  const bytes = value.replaceAll(/\s/g, '').match(/[\da-f]{2}/gi) ?? [];
  return bytes.reduce((sum, byte, i) => sum + Number.parseInt(byte, 16) * 256 ** i, 0);
}

export function hostMemoryMb(): number {
  return Math.round(os.totalmem() / 2 ** 20);
}

function text(folder: string, name: string): string | undefined {
  try {
    return readFileSync(path.join(folder, name), 'utf8').trim();
  } catch {
    return undefined;
  }
}

function megabytes(folder: string, name: string): number | undefined {
  const bytes = Number(text(folder, name) ?? '');
  return bytes > 0 ? Math.round(bytes / 2 ** 20) : undefined;
}

function linkName(link: string): string | undefined {
  try {
    return path.basename(realpathSync(link));
  } catch {
    return undefined;
  }
}
