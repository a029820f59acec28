/** Memory that runs out, and a GPU that goes away, in the middle of a run: the real trainer, with a
 * runtime that fails as the real one does (see faults.cjs; that it does fail in these words is
 * checked below, and on a software GPU in engine/webgpu/failures). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunManifest } from '../../../src/protocol/runFiles';
import { journalRows, runCli, type CliResult } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

const steps = 12;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-memory-'));
  await writeTinyWorkspace(folder, {
    training: {
      max_steps: steps,
      per_device_train_batch_size: 4,
      gradient_accumulation_steps: 2,
      save_steps: 4,
      eval_steps: 4,
      per_device_eval_batch_size: 2,
    },
  });
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const faults = (values: Record<string, number>): Record<string, string> => ({
  NODE_OPTIONS: `--require ${path.resolve('test/unit/trainer/faults.cjs')}`,
  ...Object.fromEntries(Object.entries(values).map(([k, v]) => [`DOTA_TEST_${k}`, String(v)])),
});
const manifestOf = (run: string): RunManifest =>
  JSON.parse(readFileSync(path.join(run, 'run.json'), 'utf8')) as RunManifest;
const train = (more: string[], env: Record<string, string> = {}): Promise<CliResult> =>
  runCli(['train', 'tiny.dota.json', '--json', ...more], folder, env);

interface Step {
  step: number;
  loss: number;
  gradNorm: number;
}

/** The steps that count: rows above a resume's step are superseded. */
function stepsOf(run: string): Step[] {
  let rows: Step[] = [];
  for (const row of journalRows(run)) {
    if (row.kind === 'resume') rows = rows.filter(({ step }) => step <= row.step!);
    if (row.kind === 'step') rows.push(row as unknown as Step);
  }
  return rows;
}

function expectSameCurve(run: string, whole: string): void {
  const [ours, theirs] = [stepsOf(run), stepsOf(whole)];
  expect(ours.map(({ step }) => step)).toEqual(theirs.map(({ step }) => step));
  ours.forEach(({ loss, gradNorm }, i) => {
    // The same sums of fp32 in another order, some steps long.
    expect(Math.abs(loss / theirs[i]!.loss - 1)).toBeLessThan(1e-5);
    expect(Math.abs(gradNorm / theirs[i]!.gradNorm - 1)).toBeLessThan(1e-4);
  });
}

describe('a run whose memory runs out', () => {
  let whole: string;
  beforeAll(async () => {
    const result = await train([]);
    expect(result.code).toBe(0);
    whole = String(result.json?.run);
  });

  it('stops resumably, says what to do, and goes on with a smaller micro-batch on the same batches', async () => {
    // Rows of 8 tokens: two sequences at once fit, four do not.
    const failed = await train([], faults({ MAX_TOKENS: 16 }));
    expect(failed.code).toBe(75);
    const run = String(failed.json?.run);
    const command = `dota train --resume ${run} --micro-batch 2`;
    expect(failed.json).toMatchObject({
      state: 'stopped',
      error: {
        code: 'device.outOfMemory',
        message: expect.stringContaining('bad_alloc') as string,
        next: expect.stringContaining(command) as string,
      },
    });
    expect(failed.stderr).toContain(command);
    expect(manifestOf(run)).toMatchObject({
      state: 'stopped',
      error: { code: 'device.outOfMemory' },
    });

    const resumed = await runCli(
      ['train', '--resume', run, '--micro-batch', '2', '--json'],
      folder,
      faults({ MAX_TOKENS: 16 }),
    );
    expect(resumed.code).toBe(0);
    expect(resumed.json).toMatchObject({ state: 'finished', steps, micro_batch: 2 });
    expectSameCurve(run, whole);
  });

  it('is helped by itself where auto_find_batch_size is set', async () => {
    const set = ['--set', 'training.auto_find_batch_size=true'];
    const result = await train(set, faults({ MAX_TOKENS: 8 }));
    expect(result.code).toBe(0);
    expect(result.json).toMatchObject({ state: 'finished', steps, micro_batch: 1 });
    const run = String(result.json?.run);
    expectSameCurve(run, whole);
    const texts = journalRows(run).filter(({ kind }) => kind === 'message');
    // From four to two, and from two to one.
    expect(texts.map(({ text }) => text)).toEqual([
      expect.stringContaining('micro-batch 2'),
      expect.stringContaining('micro-batch 1'),
    ]);
  });

  it('offers something else where one sequence at a time is too much', async () => {
    const result = await train(['--micro-batch', '1'], faults({ MAX_TOKENS: 4 }));
    expect(result.code).toBe(75);
    expect(result.json?.error).toMatchObject({
      code: 'device.outOfMemory',
      next: expect.stringContaining('max_length') as string,
    });
  });

  it('refuses a micro-batch above the batch', async () => {
    const result = await train(['--micro-batch', '5']);
    expect(result.code).toBe(64);
    expect(result.stderr).toContain('from 1 to 4');
  });
});

describe('the memory estimate before a run', () => {
  it('keeps activations where there is room, and recomputes them where there is not', async () => {
    const roomy = await train([]);
    expect(roomy.json).toMatchObject({ recompute: false, micro_batch: 4 });
    const tight = await train([], faults({ FREE_BYTES: 2 ** 20 }));
    expect(tight.json).toMatchObject({ state: 'finished', recompute: true, micro_batch: 4 });
    const [a, b] = [stepsOf(String(roomy.json?.run)), stepsOf(String(tight.json?.run))];
    // Recomputed activations are the same bits.
    expect(b.map(({ loss }) => loss)).toEqual(a.map(({ loss }) => loss));
  });

  it('obeys what is said in full', async () => {
    const set = ['--set', 'training.gradient_checkpointing=false'];
    const result = await train(set, faults({ FREE_BYTES: 2 ** 20 }));
    expect(result.json).toMatchObject({ state: 'finished', recompute: false, micro_batch: 4 });
  });
});

// What the words above stand for: an address space that is too small for one array.
describe.runIf(process.platform === 'linux')('the runtime without memory', () => {
  it('says so in words that are understood', () => {
    const child = 'node scripts/run-ts.mjs test/unit/trainer/allocationChild.ts cpu 4000';
    const run = spawnSync('sh', ['-c', `ulimit -v 6000000; exec ${child}`], { encoding: 'utf8' });
    expect(JSON.parse(run.stdout)).toMatchObject({ code: 'device.outOfMemory' });
  });
});
