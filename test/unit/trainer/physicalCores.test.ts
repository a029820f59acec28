/** How many threads compute, by what the kernel says of the machine and the container. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Machine, physicalCores } from '../../../src/trainer/training/physicalCores';

describe('the cores that compute', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(path.join(tmpdir(), 'dota-cores-'));
  });
  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });

  function write(file: string, text: string): void {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), text);
  }

  /** A machine of these groups of threads, whose process may run on `allowed`. */
  function machine(groups: readonly string[], allowed: string, logical: number): Machine {
    for (const group of groups) {
      const [from, to = from] = group.split(/[-,]/).map(Number) as [number, number?];
      const threads = group.includes(',') ? [from, to] : [from, from + 1].slice(0, to - from + 1);
      for (const cpu of threads) {
        write(`sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`, `${group}\n`);
      }
    }
    write('proc/self/status', `Name:\tnode\nCpus_allowed:\tff\nCpus_allowed_list:\t${allowed}\n`);
    return { platform: 'linux', arch: 'x64', logical, root };
  }
  const each = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i));

  it('are half of the threads where two are of a core', () => {
    const groups = ['0,8', '1,9', '2,10', '3,11', '4,12', '5,13', '6,14', '7,15'];
    expect(physicalCores(machine(groups, '0-15', 16))).toBe(8);
  });

  it('are all of a virtual machine’s processors, each of which is a core to the kernel', () => {
    expect(physicalCores(machine(each(8), '0-7', 8))).toBe(8);
  });

  it('are the large and the small ones of a hybrid processor', () => {
    // Two large cores of two threads, four small ones.
    expect(physicalCores(machine(['0-1', '2-3', '4', '5', '6', '7'], '0-7', 8))).toBe(6);
  });

  it('are those that the process may run on, of the processors that are there', () => {
    const groups = ['0-1', '2-3', '4-5', '6-7'];
    // Both threads of one core, and one of another.
    expect(physicalCores(machine(groups, '0-1,4', 3))).toBe(2);
    write('sys/devices/system/cpu/online', '0-7\n');
    expect(physicalCores(machine(groups, '0-255', 8))).toBe(4);
  });

  it('are no more than the container has time for', () => {
    const whole = machine(each(8), '0-7', 8);
    for (const [limit, cores] of [
      ['max 100000', 8],
      ['300000 100000', 3],
      ['250000 100000', 2],
      ['50000 100000', 1],
    ] as const) {
      write('sys/fs/cgroup/cpu.max', `${limit}\n`);
      expect(physicalCores(whole)).toBe(cores);
    }
    rmSync(path.join(root, 'sys/fs/cgroup'), { recursive: true });
    write('sys/fs/cgroup/cpu/cpu.cfs_period_us', '100000\n');
    write('sys/fs/cgroup/cpu/cpu.cfs_quota_us', '-1\n');
    expect(physicalCores(whole)).toBe(8);
    write('sys/fs/cgroup/cpu/cpu.cfs_quota_us', '400000\n');
    expect(physicalCores(whole)).toBe(4);
  });

  it('are guessed where nothing is said', () => {
    const unknown = { platform: 'linux', arch: 'x64', logical: 16, root } as const;
    expect(physicalCores(unknown)).toBe(8);
    expect(physicalCores({ ...unknown, platform: 'win32' })).toBe(8);
    expect(physicalCores({ ...unknown, logical: 4 })).toBe(4);
    expect(physicalCores({ ...unknown, arch: 'arm64' })).toBe(16);
    expect(physicalCores({ ...unknown, logical: 1 })).toBe(1);
  });
});
