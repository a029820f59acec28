/** Controlling a detached trainer from outside, as the editor does. All real parts. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attachToRun, type TrainerControl } from '../../../src/runs/attach';
import { writeCommand } from '../../../src/runs/commandFile';
import { checkLiveness } from '../../../src/runs/liveness';
import { readManifest } from '../../../src/runs/manifest';
import { runFolder, type RunFolder } from '../../../src/runs/runFolder';
import { journalRows, runCli, until, untilStep } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

let place: string;
const started: RunFolder[] = [];

beforeAll(async () => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-control-'));
  await writeTinyWorkspace(place, {
    training: { num_train_epochs: 10_000, eval_steps: 1_000_000 },
  });
});
afterAll(async () => {
  for (const run of started) {
    const liveness = await checkLiveness(run);
    if (liveness.kind === 'alive') process.kill(liveness.record.pid, 'SIGKILL');
  }
  rmSync(place, { recursive: true, force: true });
});

async function detach(...more: string[]): Promise<RunFolder> {
  const result = await runCli(['train', 'tiny.dota.json', '--detach', '--json', ...more], place);
  expect(result.code).toBe(0);
  const run = runFolder(String(result.json?.run));
  started.push(run);
  return run;
}

/** A trainer that has to wait for the machine answers too late for one try. */
function control(
  run: RunFolder,
  listeners: Parameters<typeof attachToRun>[1] = {},
): Promise<TrainerControl> {
  return until('an answer of the trainer', async () => {
    const attached = await attachToRun(run, listeners);
    return attached.kind === 'attached' && attached.control;
  });
}

const stateOf = async (run: RunFolder): Promise<string> => (await readManifest(run)).state;
const untilState = (run: RunFolder, state: string): Promise<true> =>
  until(state, async () => (await stateOf(run)) === state);

describe('a detached trainer', () => {
  it('goes on after its starter, streams, pauses, goes on, and stops with a checkpoint', async () => {
    const run = await detach();
    await untilStep(run.path, 3);
    const states: string[] = [];
    let journalBytes = 0;
    const trainer = await control(run, {
      onState: (state) => states.push(state),
      onJournal: (bytes) => (journalBytes = bytes),
    });
    await expect.poll(() => journalBytes).toBeGreaterThan(0);

    // A second start of the same run is refused with the reason.
    const second = await runCli(['train', '--resume', run.path, '--json'], place);
    expect(second.code).toBe(65);
    expect(second.json).toMatchObject({ error: { code: 'run.locked' } });
    const deleted = await runCli(['runs', 'delete', run.id, '--json'], place);
    expect(deleted.json).toMatchObject({ error: { code: 'run.locked' } });

    await trainer.send('pause');
    await untilState(run, 'paused');
    // Steps only: the row that tells of the pause follows the manifest.
    const steps = (): number => journalRows(run.path).filter(({ kind }) => kind === 'step').length;
    const before = steps();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(steps()).toBe(before);
    await trainer.send('resume');
    await untilState(run, 'running');
    const last = journalRows(run.path).findLast((row) => row.kind === 'step')!.step!;
    await untilStep(run.path, last + 2);

    await trainer.send('stop');
    await untilState(run, 'stopped');
    await expect.poll(async () => (await checkLiveness(run)).kind).toBe('none');
    await expect.poll(() => states).toEqual(['paused', 'running', 'stopped']);
    const manifest = await readManifest(run);
    expect(readdirSync(run.checkpoints)).toContain(`step-${manifest.progress?.step ?? 0}`);
    trainer.dispose();
  });

  it('acknowledges a stop within 200 ms while the worker computes', async () => {
    const took: number[] = [];
    // Others may have the machine just then; a trainer that waits for its worker is late every time.
    while (took.length < 3 && took.every((ms) => ms >= 200)) {
      const run = await detach();
      await untilStep(run.path, 3);
      const trainer = await control(run);
      const start = performance.now();
      await trainer.send('stop');
      took.push(performance.now() - start);
      await untilState(run, 'stopped');
      trainer.dispose();
    }
    console.log(`stop acknowledged after ${took.map((ms) => ms.toFixed(1)).join(', ')} ms`);
    expect(took.at(-1)).toBeLessThan(200);
  });

  it('takes commands from the command file, and shows as crashed after kill -9', async () => {
    const run = await detach();
    await untilStep(run.path, 3);
    await writeCommand(run, 'pause');
    await untilState(run, 'paused');
    await writeCommand(run, 'resume');
    await untilState(run, 'running');
    const { pid } = JSON.parse(readFileSync(run.lock, 'utf8')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await expect.poll(async () => (await checkLiveness(run)).kind).toBe('dead');
    const listed = await runCli(['runs', 'list', '--json'], place);
    const rows = listed.json?.runs as { id: string; state: string }[];
    expect(rows.find((row) => row.id === run.id)?.state).toBe('crashed');
    const stopped = await runCli(['runs', 'stop', run.id, '--json'], place);
    expect(stopped.code).toBe(65);
    expect(stopped.json).toMatchObject({ error: { code: 'run.state' } });
  });

  it('is stopped by the command line, which waits for the end; the name given meanwhile stays', async () => {
    const run = await detach('--set', 'training.report_to=["tensorboard"]');
    await untilStep(run.path, 3);
    const renamed = { ...(await readManifest(run)), name: 'renamed' };
    writeFileSync(run.manifest, JSON.stringify(renamed));
    const result = await runCli(['runs', 'stop', run.id, '--json'], place);
    expect(result.code).toBe(0);
    expect(result.json).toEqual({ id: run.id, state: 'stopped' });
    expect((await readManifest(run)).name).toBe('renamed');
    expect(readdirSync(run.tensorboard).length).toBe(1);
    const gone = await runCli(['runs', 'delete', run.id, '--json'], place);
    expect(gone.json).toMatchObject({ id: run.id, freed_bytes: expect.any(Number) as number });
  });
});
