/** How many cores the arithmetic may take. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export interface Machine {
  platform: NodeJS.Platform;
  arch: string;
  /** Logical processors that this process may run on. */
  logical: number;
  /** Where `/proc` and `/sys` are. */
  root: string;
}

/**
 * Two threads of one core share its arithmetic units, so a thread more a core only costs. On Linux the kernel says
 * which are of one core (a virtual machine's and a hybrid processor's small cores are each its own), which this
 * process may run on, and how much time its container has. Elsewhere a large x64 processor is taken to have two
 * threads a core.
 */
export function physicalCores(machine: Machine = ownMachine()): number {
  const { platform, arch, logical, root } = machine;
  const perCore = arch === 'x64' && logical > 4 ? 2 : 1;
  const assumed = Math.floor(logical / perCore);
  if (platform !== 'linux') return Math.max(1, assumed);
  return Math.max(1, Math.min(coresOf(root) ?? assumed, logical, Math.floor(quota(root))));
}

function ownMachine(): Machine {
  const { platform, arch } = process;
  return { platform, arch, logical: os.availableParallelism(), root: '/' };
}

/** Cores of which this process may use a thread; undefined where the kernel does not say. */
function coresOf(root: string): number | undefined {
  const status = text(root, 'proc/self/status');
  const allowed = cpuList(/^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1]);
  const online = cpuList(text(root, 'sys/devices/system/cpu/online').trim());
  const cores = new Set<string>();
  // The kernel allows processors that the machine could have, but has not.
  for (const cpu of allowed.filter((one) => online.length === 0 || online.includes(one))) {
    const siblings = text(root, `sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`);
    if (siblings === '') return undefined;
    cores.add(siblings.trim());
  }
  return cores.size === 0 ? undefined : cores.size;
}

/** `0-3,8` as the kernel writes it. */
function cpuList(printed = ''): number[] {
  return printed.split(',').flatMap((range) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
    if (first === undefined) return [];
    const length = Number(last) - Number(first) + 1;
    return Array.from({ length: Math.max(0, length) }, (_, i) => Number(first) + i);
  });
}

/** Processors' worth of time that the container has: of cgroups' second version, or of the first. */
function quota(root: string): number {
  const folder = 'sys/fs/cgroup';
  const [share, period] = text(root, `${folder}/cpu.max`).trim().split(' ');
  const second = Number(share) / Number(period);
  if (second > 0) return Math.max(1, second);
  const first =
    Number(text(root, `${folder}/cpu/cpu.cfs_quota_us`)) /
    Number(text(root, `${folder}/cpu/cpu.cfs_period_us`));
  // Without a limit the quota is -1.
  return first > 0 ? Math.max(1, first) : Infinity;
}

/** Empty where there is no such file. */
function text(root: string, file: string): string {
  try {
    return readFileSync(path.join(root, file), 'utf8');
  } catch {
    return '';
  }
}
