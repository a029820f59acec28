/** What of `scripts/gpu-check` needs no GPU; test/full packs it and checks a software GPU. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  bufferError,
  type Check,
  exitCodeOf,
  held,
  leaks,
  type Loop,
  measured,
  table,
  trainingErrors,
  worstOperator,
} from '../../../scripts/gpu-check/judge';

describe('gpu-check', () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'dota-gpu-check-'));
    await build({
      entryPoints: ['scripts/gpu-check/check.ts'],
      outfile: path.join(folder, 'check.cjs'),
      bundle: true,
      platform: 'node',
      format: 'cjs',
      external: ['onnxruntime-node'],
    });
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (...args: string[]) =>
    spawnSync(process.execPath, [path.join(folder, 'check.cjs'), ...args], {
      encoding: 'utf8',
      env: {
        ...process.env,
        NODE_PATH: path.resolve('node_modules'),
        DOTA_CLI: path.resolve('dist/trainer/cli.cjs'),
        // Whatever this machine has, the Vulkan loader is told of no driver.
        VK_ICD_FILENAMES: path.join(folder, 'none.json'),
        VK_DRIVER_FILES: path.join(folder, 'none.json'),
        // Nor has it a loader of its own that comes along.
        LD_LIBRARY_PATH: folder,
      },
    });

  it('says what it can do, and what an exit code means', () => {
    const { status, stdout, stderr } = run('--help');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const word of ['--json', '--small', '--size', '--allow-software-gpu', '69 no GPU'])
      expect(stdout).toContain(word);
  });

  it.each([[['--jsno']], [['--size', 'large']]])('refuses %s without a stack trace', (args) => {
    const { status, stdout, stderr } = run(...args);
    expect({ status, stdout }).toEqual({ status: 64, stdout: '' });
    expect(stderr).toContain('Usage:');
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('answers --json where no driver has Vulkan, too, and ends with 69', () => {
    const { status, stdout, stderr } = run('--json');
    expect(status, stderr).toBe(69);
    const answer = JSON.parse(stdout) as Record<string, unknown>;
    expect(answer).toMatchObject({ checked: false });
    expect(answer['vulkan_loader']).toMatch(/^(own|missing)$/);
    expect(answer['reason']).toMatch(/./);
    expect(answer['next']).toMatch(/./);
    expect(stderr).toContain('no GPU was checked');
  });
});

describe('the judgement of gpu-check', () => {
  const of = (...verdicts: Check['verdict'][]): Check[] =>
    verdicts.map((verdict) => ({ check: 'x', figure: 1, verdict }));

  it('tells numbers that differ from parts that ended', () => {
    expect(exitCodeOf(of('ok', 'measured'))).toBe(0);
    expect(exitCodeOf(of('ok', 'ended'))).toBe(70);
    expect(exitCodeOf(of('ended', 'differs'))).toBe(1);
    expect(held('x', 1e-5, 1e-4).verdict).toBe('ok');
    expect(held('x', 1e-3, 1e-4).verdict).toBe('differs');
    expect(held('x', NaN, 1e-4).verdict).toBe('differs');
    expect(held('x', undefined, 1e-4).verdict).toBe('ended');
  });

  it('is the last column of its table', () => {
    const lines = table('A card', [
      measured('tokens/s', 1234.5),
      measured('tokens/s of PyTorch', null, 'not here'),
      held('operators', 3.21e-7, 1e-4, 'Exp'),
    ]).split('\n');
    expect(lines).toEqual([
      '| A card | figure | limit | verdict |',
      '| --- | ---: | ---: | --- |',
      '| tokens/s | 1235 |  | measured |',
      '| tokens/s of PyTorch (not here) | - |  | measured |',
      '| operators (Exp) | 3.2e-7 | < 1.0e-4 | ok |',
    ]);
  });

  it('finds the operator that is wrong, whatever way', () => {
    const cpu = { Exp: { values: [1, 2, 4, null] }, bf16: { values: [1e30, 1e-10, 1e-39] } };
    const with_ = (name: string, values: (number | 'NaN' | null)[]) =>
      worstOperator(cpu, { ...cpu, [name]: { values } });
    expect(worstOperator(cpu, cpu).error).toBe(0);
    // Relative to the largest; what is not finite on the CPU is not compared.
    expect(with_('Exp', [1, 2.04, 4, 7])).toMatchObject({ name: 'Exp' });
    expect(with_('Exp', [1, 2.04, 4, 7]).error).toBeCloseTo(0.01, 12);
    for (const value of ['NaN', null] as const)
      expect(with_('Exp', [1, value, 4, null]).error).toBe(Infinity);
    expect(with_('Exp', []).error).toBe(Infinity);
    // Widened weights are exact at every size, down to those that may vanish.
    expect(with_('bf16', [1e30, 2e-10, 0])).toEqual({ name: 'bf16', error: 1 });
    expect(with_('bf16', [1e30, 1e-10, 0]).error).toBe(0);
  });

  it('compares training by every step and by the parameters', () => {
    const cpu = {
      losses: [2, 1],
      norms: [4, 3],
      parameters: [3, 4],
      seconds: 1,
      gflop: 1,
      deviceMb: 0,
    };
    expect(trainingErrors(cpu, cpu)).toEqual({ steps: 0, parameters: 0 });
    expect(trainingErrors(cpu, { ...cpu, norms: [4, 3.3] }).steps).toBeCloseTo(0.1, 12);
    expect(trainingErrors(cpu, { ...cpu, losses: [2, 0.8] }).steps).toBeCloseTo(0.2, 12);
    expect(trainingErrors(cpu, { ...cpu, parameters: [3, 4.5] }).parameters).toBeCloseTo(0.1, 12);
    expect(trainingErrors(cpu, { ...cpu, parameters: [3] }).parameters).toBe(Infinity);
  });

  it('lets small buffers refuse a case, and not all of them', () => {
    const cpu = { tied: { loss: 2, gradient: [3, 4] }, long: { loss: 1 } };
    const refused = { error: { code: 'device.outOfMemory' } };
    expect(bufferError(cpu, { ...cpu, long: refused })).toBe(0);
    expect(bufferError(cpu, { tied: refused, long: refused })).toBe(Infinity);
    expect(bufferError(cpu, { tied: cpu.tied })).toBe(Infinity);
    expect(bufferError(cpu, { ...cpu, tied: { loss: 2, gradient: [3, 4.5] } })).toBeCloseTo(0.1, 9);
  });

  it('sees whatever a loop leaves', () => {
    const loop = (change: (step: number) => object = () => ({}), left = 0): Loop => ({
      samples: Array.from({ length: 8 }, (_, step) => ({
        tensors: 30,
        bytes: 1000,
        // The first round opens some more.
        sessions: step < 2 ? 5 : 6 + (step % 2),
        made: step,
        rss: step * 2 ** 20,
        ...change(step),
      })),
      'F16 left': left,
    });
    expect(leaks(loop(), 2)).toEqual({ left: 0, grownMb: 4 });
    expect(leaks(loop(undefined, 2), 2).left).toBe(2);
    for (const what of ['tensors', 'bytes', 'sessions'])
      expect(
        leaks(
          loop((step) => ({ [what]: 100 + step })),
          2,
        ).left,
      ).toBe(2);
    expect(leaks({ samples: loop().samples.slice(0, 5), 'F16 left': 0 }, 2).left).toBe(Infinity);
  });
});
