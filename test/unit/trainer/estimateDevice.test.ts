/** What the estimate takes from earlier probes, and that it starts none. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { deviceOrder } from '../../../src/trainer/training/deviceOrder';
import { estimateDevice, type Known } from '../../../src/trainer/training/estimateDevice';
import { rememberProbe } from '../../../src/trainer/training/probeDevices';
import { runtimeVersion } from '../../../src/trainer/training/runtimeVersion';
import { runCli, type CliResult } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

const probe = { error: 1e-6, bufferMb: 0 };
const cpu = { ...probe, kind: 'cpu', ok: true, software: false, gflops: 80 } as const;
const gpu = { ...cpu, kind: 'webgpu', gflops: 900, bufferMb: 256 } as const;
const known =
  (...answers: (typeof cpu | typeof gpu)[]): Known =>
  (kind) =>
    Promise.resolve(answers.find((answer) => answer.kind === kind));

describe('the device of an estimate', () => {
  const machine = { order: deviceOrder('linux', 'x64'), mayHaveGpu: true };
  const auto = { device: 'auto', allow_software_gpu: false } as const;
  const onCpu = { kind: 'cpu', bufferBytes: undefined, asked: true };
  const onGpu = { kind: 'webgpu', bufferBytes: 256 * 2 ** 20, asked: true };

  it('is what a run would take, where the answers are kept', async () => {
    expect(await estimateDevice(auto, known(cpu, gpu), machine)).toEqual(onGpu);
    const slow = { ...gpu, gflops: 8 as never };
    expect(await estimateDevice(auto, known(cpu, slow), machine)).toEqual(onCpu);
    expect(await estimateDevice({ ...auto, device: 'webgpu' }, known(gpu), machine)).toEqual(onGpu);
    expect(await estimateDevice({ ...auto, device: 'cpu' }, known(), machine)).toEqual(onCpu);
  });

  it('is the CPU, and says that a GPU was not asked, where one may be there', async () => {
    const unasked = { ...onCpu, asked: false };
    expect(await estimateDevice(auto, known(), machine)).toEqual(unasked);
    // Whether the GPU is faster, the run will find out.
    expect(await estimateDevice(auto, known(gpu), machine)).toEqual(unasked);
    expect(await estimateDevice(auto, known(), { ...machine, mayHaveGpu: false })).toEqual(onCpu);
    const order = deviceOrder('linux', 'arm64');
    expect(await estimateDevice(auto, known(), { ...machine, order })).toEqual(onCpu);
  });

  it('is the GPU that was asked for, without its limits, where it has not answered yet', async () => {
    const wanted = { ...auto, device: 'webgpu' } as const;
    expect(await estimateDevice(wanted, known(), machine)).toEqual({
      kind: 'webgpu',
      bufferBytes: undefined,
      asked: false,
    });
  });
});

describe('dota train --estimate', () => {
  let place: string;
  let started: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    place = mkdtempSync(path.join(tmpdir(), 'dota-estimate-'));
    await writeTinyWorkspace(place);
    started = path.join(place, 'started');
    const shim = path.join(place, 'shim.cjs');
    // Notes what every process starts.
    writeFileSync(
      shim,
      `const child = require('node:child_process');
       for (const name of ['spawn', 'execFile', 'fork', 'exec']) {
         const real = child[name];
         child[name] = (...args) => {
           require('node:fs').appendFileSync(${JSON.stringify(started)}, JSON.stringify(args.slice(0, 2)) + '\\n');
           return real(...args);
         };
       }`,
    );
    // Software by its name, whatever this machine has.
    const driver = path.join(place, 'lvp_icd.json');
    writeFileSync(driver, JSON.stringify({ ICD: { library_path: driver } }));
    env = { NODE_OPTIONS: `--require ${shim}`, VK_DRIVER_FILES: driver };
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    rmSync(place, { recursive: true, force: true });
  });
  beforeEach(() => {
    writeFileSync(started, '');
    // Where answers are kept; a new one for each test.
    const temporary = mkdtempSync(path.join(place, 'tmp-'));
    mkdirSync(temporary, { recursive: true });
    env['TMPDIR'] = temporary;
    for (const name of ['TMPDIR', 'VK_DRIVER_FILES']) vi.stubEnv(name, env[name]);
  });

  const dota = (...args: string[]): Promise<CliResult> =>
    runCli(['train', 'tiny.dota.json', '--device', 'webgpu', ...args], place, env);
  const estimate = (...args: string[]): Promise<CliResult> =>
    dota('--estimate', '--allow-software-gpu', ...args);

  /** Keeps this answer of the GPU, as a probe would. */
  async function keep(bufferMb: number): Promise<void> {
    const says = { ...probe, gflops: 900, bufferMb };
    const source = `console.log(${JSON.stringify(JSON.stringify(says))})`;
    const command = [process.execPath, '-e', source];
    expect((await rememberProbe('webgpu', await runtimeVersion(), { command })).ok).toBe(true);
  }

  const starts = (): string[] => readFileSync(started, 'utf8').split('\n').filter(Boolean);
  /** Nothing but what a vendor says of its GPU's memory. */
  function expectNoProbe(): void {
    const lines = starts();
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) expect(line).toMatch(/^\["(nvidia-smi|rocm-smi|reg)"/);
  }

  it('says that the GPU has not answered yet, and what to do', async () => {
    const text = await estimate();
    expect(text.code, text.stderr).toBe(0);
    expect(text.stdout).toContain('The GPU has not been asked on this driver yet');
    expect(text.stdout).toContain('run `dota doctor`');
    expect((await estimate('--json')).json).toMatchObject({
      device: 'webgpu',
      device_asked: false,
      buffer_mb: null,
      table_rows: null,
    });
    expectNoProbe();
  });

  it('goes by the largest buffer of the probe that is kept', async () => {
    await keep(512);
    const { json } = await estimate('--json');
    expect(json).toMatchObject({ device_asked: true, buffer_mb: 512, table_rows: null });
    expectNoProbe();
  });

  it('says where tables and attention are cut', async () => {
    // 10 kB: the embedding of 258 x 32 takes 33, the largest matrix 8.
    await keep(10_240 / 2 ** 20);
    const { stdout, stderr } = await estimate();
    expect(stderr).toBe('');
    expect(stdout).toContain('tables of the vocabulary are cut into parts of 80 rows');
    // The longest row has 6 tokens: 4 sequences of it have 4 x 4 x 6 x 6 scores.
    expect(stdout).not.toContain('attention at once');
    await keep(8192 / 2 ** 20);
    const long = await estimate('--set', 'data.packing=true', '--json');
    // Packed to 32 tokens a sequence: one of 4 heads has 4 kB of scores.
    expect(long.json).toMatchObject({ attention: { sequences: 1, keyHeads: 1 } });
    expectNoProbe();
  });

  it('refuses what cannot be cut, as the run itself does', async () => {
    await keep(8191 / 2 ** 20);
    const before = await estimate('--json');
    expect(starts()).toEqual([]);
    const run = await dota('--allow-software-gpu', '--json');
    expect(before.json?.error).toMatchObject({
      code: 'device.unavailable',
      message: expect.stringContaining('The weight "mlp.gate_proj.weight" [64, 32]') as string,
    });
    expect(run.json?.error).toEqual(before.json?.error);
    expect([before.code, run.code]).toEqual([65, 65]);
  });

  it.runIf(process.platform === 'linux')(
    'refuses a software GPU that the run would refuse',
    async () => {
      await keep(512);
      const before = await dota('--estimate', '--json');
      expect(before.json?.error).toMatchObject({ code: 'device.unavailable' });
      expect((await dota('--json')).json?.error).toEqual(before.json?.error);
    },
  );
});
