/** What vendors' tools print, whole, in part or not at all; and that no failure of one harms a run. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GpuSampler, ownUseMb } from '../../../src/trainer/child/gpuSampler';
import { gpuStates, processUsedMb, runTool } from '../../../src/trainer/training/gpuMemory';

const noSystem = () => Promise.resolve([]);
const says = (printed: { nvidia?: string; amd?: string }) =>
  gpuStates(
    (command) => Promise.resolve(command === 'nvidia-smi' ? printed.nvidia : printed.amd),
    noSystem,
  );
const card = {
  'Card Series': 'Radeon RX 7800 XT',
  'VRAM Total Memory (B)': String(16 * 2 ** 30),
  'VRAM Total Used Memory (B)': String(2 ** 30),
};
const radeon = {
  vendor: 'amd',
  name: 'Radeon RX 7800 XT',
  driver: undefined,
  totalMb: 16384,
  usedMb: 1024,
};

describe('nvidia-smi', () => {
  const rtx = { vendor: 'nvidia', name: 'NVIDIA GeForce RTX 4070', driver: '550.54.14' };

  it('gives name, driver, size and what is not free, a line a GPU, on Windows as well', async () => {
    const line = 'NVIDIA GeForce RTX 4070, 550.54.14, 12282, 11770';
    expect(await says({ nvidia: `${line}\r\n${line}\r\n` })).toEqual([
      { ...rtx, totalMb: 12282, usedMb: 512 },
      { ...rtx, totalMb: 12282, usedMb: 512 },
    ]);
  });

  it('says nothing of the memory of GPUs that have none of their own', async () => {
    expect(await says({ nvidia: 'NVIDIA GB10, 580.126.09, [N/A], [N/A]\n' })).toEqual([]);
    expect(await says({ nvidia: 'Orin, 540.4.0, [Not Supported], [Not Supported]\n' })).toEqual([]);
  });

  it('leaves out what is in use where that alone is not known', async () => {
    expect(await says({ nvidia: 'NVIDIA A100, 550.54.14, 40960, [N/A]\n' })).toEqual([
      {
        vendor: 'nvidia',
        name: 'NVIDIA A100',
        driver: '550.54.14',
        totalMb: 40960,
        usedMb: undefined,
      },
    ]);
  });

  it.each([
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
    'Failed to initialize NVML, no, really, no',
    'NVIDIA GeForce RTX 4070, 550.54.14, 122',
    'No devices were found',
    '',
  ])('that prints %j gives nothing', async (nvidia) => {
    expect(await says({ nvidia })).toEqual([]);
  });
});

describe('rocm-smi', () => {
  it('gives name, driver, size and use, a card each', async () => {
    const system = { 'Driver version': '6.7.0' };
    expect(await says({ amd: JSON.stringify({ card0: card, system }) })).toEqual([
      { ...radeon, driver: '6.7.0' },
    ]);
  });

  it('is read in the spelling of earlier versions, and behind a warning', async () => {
    const { 'Card Series': series, ...memory } = card;
    const amd = `WARNING: AMD GPU device(s) is/are in a low-power state.\n\n${JSON.stringify({
      card0: { ...memory, 'Card series': series },
    })}`;
    expect(await says({ amd })).toEqual([radeon]);
  });

  it('counts for a GPU inside of a processor only what the firmware has set aside: it shares the rest', async () => {
    const inside = { ...card, 'Card Series': 'Raphael', 'VRAM Total Memory (B)': String(2 ** 29) };
    const states = await says({ amd: JSON.stringify({ card0: inside, card1: card }) });
    expect(states.map(({ name, shared }) => [name, shared === true])).toEqual([
      ['Radeon RX 7800 XT', false],
      ['Raphael', true],
    ]);
    expect(states[1]!.usedMb).toBeUndefined();
  });

  it('leaves out what is not known', async () => {
    const unused = { ...card, 'VRAM Total Used Memory (B)': 'N/A' };
    const unknown = { ...card, 'VRAM Total Memory (B)': 'N/A' };
    expect(await says({ amd: JSON.stringify({ card0: unused, card1: unknown }) })).toEqual([
      { ...radeon, usedMb: undefined },
    ]);
  });

  it.each([
    'WARNING: No JSON data to report',
    '{"card0": null, "system": 3}',
    '{"card0": {"VRAM Total Memory (B)": 5}}',
    '[]',
    '{"card0": {',
    'null',
    '',
  ])('that prints %j gives nothing', async (amd) => {
    expect(await says({ amd })).toEqual([]);
  });
});

describe('a tool', () => {
  const node = (script: string, timeoutMs?: number) =>
    runTool(process.execPath, ['-e', script], timeoutMs);

  it('that is not there gives nothing', async () => {
    expect(await runTool('dota-no-such-tool', [])).toBeUndefined();
    expect(await runTool('', [])).toBeUndefined();
  });

  it('that hangs is ended, and what it had printed is not taken', async () => {
    const hanging = 'console.log("NVIDIA, 1, 2"); setInterval(() => {}, 1000)';
    expect(await node(hanging, 1500)).toBeUndefined();
  });

  it('that crashes gives nothing', async () => {
    expect(await node('console.log("x"); process.abort()')).toBeUndefined();
  });

  it('that ends with an error has said what it knew before', async () => {
    // As `reg query /s` does at a key that it may not read.
    expect(await node('console.log("sizes"); process.exitCode = 1')).toBe('sizes\n');
    expect(await node('process.exitCode = 9')).toBe('');
  });
});

describe.runIf(process.platform !== 'win32')('what a run has of the GPU’s memory', () => {
  let place: string;
  beforeEach(() => {
    place = mkdtempSync(path.join(tmpdir(), 'dota-smi-'));
    vi.stubEnv('PATH', place);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(place, { recursive: true, force: true });
  });

  /** An `nvidia-smi` on the path that lists these processes, and 512 of 12282 MiB in use. */
  function tool(processes: string): void {
    const script =
      `const apps = process.argv.some((one) => one.startsWith('--query-compute-apps'));` +
      `console.log(apps ? ${JSON.stringify(processes)} : 'RTX, 550.54.14, 12282, 11770');`;
    writeFileSync(path.join(place, 'script.cjs'), script);
    const file = path.join(place, 'nvidia-smi');
    writeFileSync(file, `#!/bin/sh\nexec "${process.execPath}" "${place}/script.cjs" "$@"\n`);
    chmodSync(file, 0o755);
  }

  it('is that of its own process where the tool lists it, on all GPUs', async () => {
    tool('41, 900\n42, 300\n4242, 7\n42, 20\n');
    expect(await ownUseMb(42)).toBe(320);
  });

  it.each(['41, 900', '42, [N/A]', '42, 300, 1', '', 'No running processes found'])(
    'is what all have of the card where the tool prints %j',
    async (processes) => {
      tool(processes);
      expect(await ownUseMb(42)).toBe(512);
    },
  );

  it('is not known without a tool', async () => {
    expect(await processUsedMb(42)).toBeUndefined();
  });
});

describe('the sampler of a run', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Answers in turn, the last one from then on; `fails` rejects. */
  function sampled(...answers: (number | undefined | 'fails')[]) {
    const ask = vi.fn((): Promise<number | undefined> => {
      const next = answers.length > 1 ? answers.shift() : answers[0];
      return next === 'fails' ? Promise.reject(new Error('it broke')) : Promise.resolve(next);
    });
    const sampler = new GpuSampler(ask);
    sampler.start();
    sampler.start();
    return { ask, sampler };
  }
  const minutes = (count: number) => vi.advanceTimersByTimeAsync(count * 60_000);

  it.each([
    ['fails', 'fails'],
    ['does not count', undefined],
  ] as const)('asks once where the tool %s', async (_, answer) => {
    const { ask, sampler } = sampled(answer);
    await minutes(5);
    expect(ask).toHaveBeenCalledTimes(1);
    expect(sampler.usedMb).toBeUndefined();
  });

  it('goes on after a failure between two answers', async () => {
    const { sampler } = sampled(5, 'fails', undefined, 7);
    await minutes(5);
    expect(sampler.usedMb).toBe(7);
    sampler.stop();
  });

  it('leaves a tool alone that fails again and again', async () => {
    const { ask, sampler } = sampled(5, 'fails');
    await minutes(5);
    expect(ask).toHaveBeenCalledTimes(4);
    expect(sampler.usedMb).toBe(5);
  });
});
