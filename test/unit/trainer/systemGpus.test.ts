/** Memory of GPUs that no vendor's tool speaks for, from files and output like the systems'. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gpuStates } from '../../../src/trainer/training/gpuMemory';
import { macGpus } from '../../../src/trainer/training/macGpus';
import { linuxGpus, windowsGpus } from '../../../src/trainer/training/systemGpus';

const hostMb = 16_000;
const shared = { totalMb: 8000, usedMb: undefined, shared: true };
let place: string;
beforeEach(() => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-drm-'));
});
afterEach(() => {
  rmSync(place, { recursive: true, force: true });
});

/** A card as the kernel shows it: a link to the PCI device, whose driver is a link as well. */
function card(name: string, address: string, driver: string, files: Record<string, string>): void {
  const device = path.join(place, 'devices', address);
  mkdirSync(path.join(place, 'drm', name), { recursive: true });
  mkdirSync(device, { recursive: true });
  mkdirSync(path.join(place, 'drivers', driver), { recursive: true });
  symlinkSync(path.join(place, 'drivers', driver), path.join(device, 'driver'));
  symlinkSync(device, path.join(place, 'drm', name, 'device'));
  for (const [file, text] of Object.entries(files)) {
    writeFileSync(path.join(device, file), `${text}\n`);
  }
}

const drm = (): ReturnType<typeof linuxGpus> => linuxGpus(path.join(place, 'drm'), hostMb);
const intel = { vendor: '0x8086', device: '0x46a6' };
const radeon = {
  vendor: '0x1002',
  device: '0x744c',
  mem_info_vram_total: String(24 * 2 ** 30),
  mem_info_vram_used: String(3 * 2 ** 30),
};

describe.skipIf(process.platform === 'win32')('on Linux', () => {
  it('counts the memory of AMD’s cards, before the GPU inside of the processor', () => {
    card('card0', '0000:00:02.0', 'i915', intel);
    card('card1', '0000:03:00.0', 'amdgpu', radeon);
    // Connectors stand beside the cards.
    mkdirSync(path.join(place, 'drm', 'card1-DP-1'));
    expect(drm()).toEqual([
      {
        vendor: 'amd',
        name: 'AMD GPU 0x744c',
        driver: 'amdgpu',
        totalMb: 24 * 1024,
        usedMb: 3 * 1024,
      },
      { vendor: 'intel', name: 'Intel GPU 0x46a6', driver: 'i915', ...shared },
    ]);
  });

  it('takes AMD’s GPUs inside of processors to share the machine’s memory', () => {
    const carved = String(512 * 2 ** 20);
    card('card0', '0000:c1:00.0', 'amdgpu', { ...radeon, mem_info_vram_total: carved });
    expect(drm()).toMatchObject([{ vendor: 'amd', ...shared }]);
  });

  it('says nothing of cards whose memory the kernel does not tell, or that it does not know', () => {
    card('card0', '0000:03:00.0', 'xe', intel);
    card('card1', '0000:04:00.0', 'nvidia', { vendor: '0x10de', device: '0x2786' });
    card('card2', '0000:05:00.0', 'virtio', { vendor: '0x1af4' });
    mkdirSync(path.join(place, 'drm', 'card3'));
    expect(drm()).toEqual([]);
    expect(linuxGpus(path.join(place, 'nowhere'), hostMb)).toEqual([]);
  });
});

describe('on Windows', () => {
  const root =
    'HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\Class\\{4d36e968-e325-11ce-bfc1-08002be10318}';
  const printed: Record<string, [string, string][]> = {
    'HardwareInformation.qwMemorySize': [
      ['0000', 'REG_QWORD    0x40000000'],
      ['0001', 'REG_QWORD    0x400000000'],
      ['0002', 'REG_QWORD    0x200000000'],
    ],
    DriverDesc: [
      ['0000', 'REG_SZ    Intel(R) Iris(R) Xe Graphics'],
      ['0001', 'REG_SZ    AMD Radeon RX 7800 XT'],
      ['0002', 'REG_SZ    Some Remote Display Adapter'],
    ],
    DriverVersion: [['0001', 'REG_SZ    31.0.24033.1003']],
  };
  const reg = (_: string, args: readonly string[]): Promise<string> => {
    const value = args.at(-1)!;
    const entries = printed[value]!.map(
      ([key, entry]) => `\r\n${root}\\${key}\r\n    ${value}    ${entry}\r\n`,
    );
    return Promise.resolve(`${entries.join('')}\r\nEnd of search: 2 match(es) found.\r\n`);
  };

  it('reads sizes and names from the registry', async () => {
    expect(await windowsGpus(reg, hostMb)).toEqual([
      {
        vendor: 'amd',
        name: 'AMD Radeon RX 7800 XT',
        driver: '31.0.24033.1003',
        totalMb: 16 * 1024,
        usedMb: undefined,
      },
      { vendor: 'intel', name: 'Intel(R) Iris(R) Xe Graphics', driver: undefined, ...shared },
    ]);
  });

  it('reads sizes that a driver has written as bytes, the lowest first', async () => {
    const key = `${root}\\0000`;
    const entry = (value: string, text: string): string =>
      `\r\n${key}\r\n    ${value}    ${text}\r\n`;
    const bytes = (_: string, args: readonly string[]): Promise<string> => {
      const value = args.at(-1)!;
      // 12 GiB are 0x300000000.
      const size = entry(value, 'REG_BINARY    0000000003000000');
      const name = entry(value, 'REG_SZ    NVIDIA GeForce RTX 3060');
      return Promise.resolve(value === 'HardwareInformation.qwMemorySize' ? size : name);
    };
    expect(await windowsGpus(bytes, hostMb)).toMatchObject([
      { vendor: 'nvidia', name: 'NVIDIA GeForce RTX 3060', totalMb: 12 * 1024 },
    ]);
  });

  it('says nothing where the registry cannot be asked', async () => {
    expect(await windowsGpus(() => Promise.resolve(undefined), hostMb)).toEqual([]);
  });
});

describe('on macOS', () => {
  const printed = (...displays: object[]) => JSON.stringify({ SPDisplaysDataType: displays });
  const answering = (profile: string | undefined, limit?: string) => (command: string) =>
    Promise.resolve(command === 'system_profiler' ? profile : limit);
  const apple = {
    _name: 'Apple M3',
    sppci_model: 'Apple M3',
    sppci_cores: '10',
    spdisplays_vendor: 'sppci_vendor_Apple',
  };

  it('lets Apple’s GPUs have what Metal keeps for them of the machine’s memory', async () => {
    const gpu = { vendor: 'apple', name: 'Apple M3', shared: true, usedMb: undefined };
    for (const unset of [undefined, '0\n']) {
      const [found] = await macGpus(answering(printed(apple), unset), hostMb);
      expect(found).toMatchObject({ ...gpu, totalMb: 10_667 });
    }
    expect(await macGpus(answering(printed(apple), '14000\n'), hostMb)).toMatchObject([
      { ...gpu, totalMb: 14_000 },
    ]);
    expect(await macGpus(answering(printed(apple), '99999\n'), hostMb)).toMatchObject([
      { ...gpu, totalMb: hostMb },
    ]);
  });

  it('reads the memory of cards, and shares the machine’s with Intel’s', async () => {
    const displays = printed(
      { sppci_model: 'Intel UHD Graphics 630', spdisplays_vram_shared: '1536 MB' },
      { sppci_model: 'AMD Radeon Pro 5500M', spdisplays_vram: '8 GB' },
      { sppci_model: 'NVIDIA GeForce GT 750M', spdisplays_vram: '2048 MB' },
    );
    expect(await macGpus(answering(displays), hostMb)).toEqual([
      { vendor: 'intel', name: 'Intel UHD Graphics 630', driver: undefined, ...shared },
      {
        vendor: 'amd',
        name: 'AMD Radeon Pro 5500M',
        driver: undefined,
        totalMb: 8192,
        usedMb: undefined,
      },
      { vendor: 'nvidia', name: 'NVIDIA GeForce GT 750M', driver: undefined, ...shared },
    ]);
  });

  it.each([
    undefined,
    '',
    'no JSON',
    '{}',
    printed({}),
    printed({ sppci_model: 7 }, { sppci_model: 'a display' }),
    JSON.stringify({ SPDisplaysDataType: [null, 'Apple M3'] }),
  ])('says nothing about %s', async (profile) => {
    expect(await macGpus(answering(profile), hostMb)).toEqual([]);
  });
});

describe('tools and system together', () => {
  it('take the tool’s word where there is one', async () => {
    const nvidia = 'NVIDIA GeForce RTX 4070, 550.54.14, 12282, 11770\n';
    const run = (command: string) => Promise.resolve(command === 'nvidia-smi' ? nvidia : undefined);
    const system = () =>
      Promise.resolve([
        { vendor: 'nvidia', name: 'again', driver: undefined, totalMb: 1, usedMb: undefined },
        { vendor: 'intel', name: 'Intel GPU', driver: 'i915', ...shared },
      ] as const).then((list) => [...list]);
    expect((await gpuStates(run, system)).map(({ name }) => name)).toEqual([
      'NVIDIA GeForce RTX 4070',
      'Intel GPU',
    ]);
  });
});
