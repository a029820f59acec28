/** Adapters that are programs on the processor, told by what the system says. */
import { describe, expect, it } from 'vitest';
import { isSoftwareAdapter } from '../../../src/trainer/training/softwareAdapter';

const root =
  'HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\Class\\{4d36e968-e325-11ce-bfc1-08002be10318}';

/** Windows' registry with these display adapters. */
const registry =
  (...names: string[]) =>
  (command: string, args: readonly string[]): Promise<string> => {
    expect([command, args.at(-1)]).toEqual(['reg', 'DriverDesc']);
    const entries = names.map(
      (name, i) => `\r\n${root}\\000${i}\r\n    DriverDesc    REG_SZ    ${name}\r\n`,
    );
    return Promise.resolve(
      `${entries.join('')}\r\nEnd of search: ${names.length} match(es) found.\r\n`,
    );
  };

describe('an adapter on Windows', () => {
  it.each([
    ['Microsoft Basic Display Adapter'],
    ['Microsoft Hyper-V Video', 'Microsoft Remote Display Adapter'],
    ['VMware SVGA 3D'],
    ['VirtualBox Graphics Adapter (WDDM)'],
    ['Red Hat QXL controller'],
    ['Red Hat VirtIO GPU DOD controller'],
  ])('is software where there is only %s', async (...names) => {
    expect(await isSoftwareAdapter({}, 'win32', registry(...names))).toBe(true);
  });

  it.each([
    ['NVIDIA GeForce RTX 4070', 'Microsoft Basic Display Adapter'],
    ['Parsec Virtual Display Adapter', 'AMD Radeon RX 7800 XT'],
    ['Intel(R) Iris(R) Xe Graphics'],
    ['Qualcomm(R) Adreno(TM) X1-85 GPU'],
  ])('is hardware where there is %s', async (...names) => {
    expect(await isSoftwareAdapter({}, 'win32', registry(...names))).toBe(false);
  });

  it('is taken for hardware where the registry does not answer', async () => {
    expect(await isSoftwareAdapter({}, 'win32', () => Promise.resolve(undefined))).toBe(false);
    expect(await isSoftwareAdapter({}, 'win32', registry())).toBe(false);
  });
});

it('is never software on a Mac, which has its own GPU', async () => {
  const none = (): Promise<undefined> => Promise.reject(new Error('nothing is asked'));
  expect(await isSoftwareAdapter({}, 'darwin', none)).toBe(false);
});
