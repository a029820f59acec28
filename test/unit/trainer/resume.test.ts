/**
 * Stop and resume, and kill and resume, in the middle of an epoch must not be visible in the result:
 * weights and curves equal an uninterrupted run's bit for bit (CPU, one thread). All real parts.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JournalReader } from '../../../src/runs/journalReader';
import { journalRows, runCli, startCli, until, untilStep, type CliResult } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

let folder: string;
let whole: string;
const set = (key: string, value: unknown): string[] => ['--set', `${key}=${String(value)}`];
/** Slow enough to be interrupted, with epochs of 7 steps and checkpoints off the epochs' ends. */
const options = [
  ...set('training.num_train_epochs', 6),
  ...set('training.eval_steps', 5),
  ...set('training.save_steps', 5),
  ...set('training.save_total_limit', 3),
];
const lastStep = 42;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-resume-'));
  await writeTinyWorkspace(folder);
  const result = await runCli(['train', 'tiny.dota.json', ...options, '--json'], folder);
  expect(result.stderr).toContain(`step ${lastStep}/${lastStep}`);
  expect(result.code).toBe(0);
  whole = String(result.json?.run);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Starts a run and returns its folder once it exists. */
async function start(
  more: readonly string[] = [],
): Promise<{ run: string; done: Promise<CliResult>; pid: number }> {
  const root = path.join(folder, '.dota/runs');
  const before = new Set(readdirSync(root));
  const { done } = startCli(['train', 'tiny.dota.json', ...options, ...more, '--json'], folder);
  const id = await until('run folder', () => readdirSync(root).find((name) => !before.has(name)));
  const run = path.join(root, id);
  const pid = await until('lock', () => {
    try {
      return (JSON.parse(readFileSync(path.join(run, 'lock.json'), 'utf8')) as { pid: number }).pid;
    } catch {
      return undefined;
    }
  });
  return { run, done, pid };
}

/**
 * Starts a run and ends it by a signal at a step or soon after. The steps take milliseconds: where this
 * process has to wait for the machine, the run may be over before, and another one is started.
 */
async function interrupt(
  step: number,
  signal: 'SIGTERM' | 'SIGKILL',
  more: readonly string[] = [],
): Promise<{ run: string; result: CliResult }> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const { run, done, pid } = await start(more);
    await untilStep(run, step);
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    const result = await done;
    if (result.json?.state !== 'finished') return { run, result };
  }
  throw new Error(`Each of five runs was over before it was interrupted at step ${step}`);
}

async function curves(run: string): Promise<Record<string, number[]>> {
  const reader = new JournalReader(path.join(run, 'metrics.jsonl'));
  await reader.read();
  return {
    step: [...reader.steps.column('step')],
    loss: [...reader.steps.column('loss')],
    learningRate: [...reader.steps.column('learningRate')],
    gradNorm: [...reader.steps.column('gradNorm')],
    tokens: [...reader.steps.column('tokens')],
    evalStep: [...reader.evals.column('step')],
    evalLoss: [...reader.evals.column('loss')],
  };
}

function weights(run: string, step = lastStep): string {
  const at = path.join(run, `checkpoints/step-${step}`);
  const name = readdirSync(at).find((file) => file.endsWith('model.safetensors'))!;
  return readFileSync(path.join(at, name)).toString('base64');
}

async function expectSameAsWhole(run: string, other = whole): Promise<void> {
  expect(await curves(run)).toEqual(await curves(other));
  // Compared as bytes; a plain boolean keeps a failure's message short.
  expect(weights(run) === weights(other)).toBe(true);
  const warnings = journalRows(run).filter((row) => row.kind === 'message');
  expect(warnings).toEqual([]);
}

describe('an interrupted run', () => {
  it('equals the uninterrupted one after a stop in mid-epoch', async () => {
    const { run, result: stopped } = await interrupt(10, 'SIGTERM');
    expect(stopped.code).toBe(75);
    expect(stopped.json).toMatchObject({ state: 'stopped', run });
    const at = Number(stopped.json?.steps);
    expect(at).toBeGreaterThanOrEqual(10);
    expect(at).toBeLessThan(lastStep);

    const resumed = await runCli(['train', '--resume', run, '--json'], folder);
    expect(resumed.code).toBe(0);
    expect(resumed.json).toMatchObject({ state: 'finished', steps: lastStep });
    await expectSameAsWhole(run);
  });

  it('equals the uninterrupted one after kill -9 in mid-epoch; lost rows are superseded', async () => {
    const { run, result } = await interrupt(18, 'SIGKILL');
    expect(result.code).not.toBe(0);
    const before = journalRows(run).filter((row) => row.kind === 'step').length;
    const listed = await runCli(['runs', 'show', run, '--json'], folder);
    expect(listed.json?.state).toBe('crashed');

    // A crashed run is not started over by accident.
    const refused = await runCli(['train', run, '--json'], folder);
    expect(refused.code).toBe(65);
    expect(refused.json).toMatchObject({ error: { code: 'run.state' } });

    const resumed = await runCli(['train', '--resume', run, '--json'], folder);
    expect(resumed.code).toBe(0);
    await expectSameAsWhole(run);
    const rows = journalRows(run);
    const resumeRow = rows.find((row) => row.kind === 'resume')!;
    expect(resumeRow.step! % 5).toBe(0);
    // The rows after the checkpoint are there twice on disk, and once in the curve.
    const onDisk = rows.filter((row) => row.kind === 'step').length;
    expect(onDisk).toBe(before + lastStep - resumeRow.step!);
    expect(rows.map((row) => row.seq)).toEqual(rows.map((_, i) => i));
  });

  it('passes over a damaged newest checkpoint', async () => {
    const { run } = await interrupt(18, 'SIGKILL');
    const steps = readdirSync(path.join(run, 'checkpoints'))
      .filter((name) => name.startsWith('step-'))
      .map((name) => Number(name.slice(5)))
      .sort((a, b) => b - a);
    const newest = path.join(run, `checkpoints/step-${steps[0]!}/optimizer.safetensors`);
    const { truncateSync } = await import('node:fs');
    truncateSync(newest, 100);
    const resumed = await runCli(['train', '--resume', run, '--json'], folder);
    expect(resumed.code).toBe(0);
    const rows = journalRows(run);
    expect(rows.find((row) => row.kind === 'resume')!.step).toBe(steps[1]);
    const warning = rows.find((row) => row.kind === 'message')!.text;
    expect(warning).toContain(`step ${steps[0]!} is damaged`);
    expect(await curves(run)).toEqual(await curves(whole));
    expect(weights(run) === weights(whole)).toBe(true);
  });

  it.each([
    ['full', ['method=full']],
    ['lora', ['method=lora']],
    ['random_mpo', ['method=random_mpo']],
    ['dota on 4-bit weights', ['method=dota', 'quantization.load_in_4bit=true']],
    ['dota with an explicit residual', ['method=dota', 'adapter.residual=explicit']],
    ['full and 8-bit moments', ['method=full', 'training.optim=adamw_8bit']],
    ['dota from the gradient', ['method=dota', 'adapter.init_weights=gradient']],
    [
      'dota on alternately quantised weights, one core frozen',
      [
        'method=dota',
        'quantization.load_in_4bit=true',
        'quantization.loftq_iter=3',
        'adapter.trainable_cores=[0,2]',
      ],
    ],
    ['mpop', ['method=mpop']],
    ['pissa', ['method=lora', 'adapter.init_lora_weights=pissa']],
    [
      'dora on 4-bit weights',
      ['method=lora', 'adapter.use_dora=true', 'quantization.load_in_4bit=true'],
    ],
    ['loretta', ['method=loretta', 'adapter.init_random=frozen_copy']],
  ])('equals the uninterrupted one with %s', async (_method, settings) => {
    const more = [...settings, 'training.eval_steps=20'].flatMap((text) => ['--set', text]);
    const uninterrupted = await runCli(
      ['train', 'tiny.dota.json', ...options, ...more, '--json'],
      folder,
    );
    expect(uninterrupted.code).toBe(0);
    const { run } = await interrupt(8, 'SIGKILL', more);
    const resumed = await runCli(['train', '--resume', run, '--json'], folder);
    expect(resumed.code).toBe(0);
    expect(journalRows(run).some((row) => row.kind === 'resume')).toBe(true);
    await expectSameAsWhole(run, String(uninterrupted.json?.run));
  });

  it('is refused when its data changed', async () => {
    const { run, result } = await interrupt(6, 'SIGTERM');
    expect(result.code).toBe(75);
    const data = path.join(folder, 'train.json');
    const original = readFileSync(data, 'utf8');
    const { writeFileSync } = await import('node:fs');
    writeFileSync(data, original.replace('0+1', '5+1'));
    const refused = await runCli(['train', '--resume', run, '--json'], folder);
    writeFileSync(data, original);
    expect(refused.code).toBe(65);
    expect(refused.json).toMatchObject({
      error: { code: 'run.state', message: expect.stringContaining('training data') as string },
    });
  });
});
