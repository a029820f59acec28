/** The end of what a killed end-to-end suite left running; real trainers. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { claim, clear, clearLeftovers, endProcessesOf, identityOf } from '../../e2e/leftovers';
import { isRunning } from '../../e2e/project';
import { runCli, until } from '../trainer/cliHarness';
import { writeTinyWorkspace } from '../trainer/tinyModel';

let temporary: string;
const homes: string[] = [];

beforeAll(() => {
  temporary = mkdtempSync(path.join(tmpdir(), 'dota-leftovers-'));
});
afterAll(() => {
  for (const home of homes) if (existsSync(home)) endProcessesOf(home);
  rmSync(temporary, { recursive: true, force: true });
});

/** A suite's folder in which a trainer works. */
async function suite(name: string): Promise<{ home: string; pid: number }> {
  const home = path.join(temporary, `dota-e2e-${name}`);
  const workspace = path.join(home, 'workspaces', 'one');
  mkdirSync(workspace, { recursive: true });
  homes.push(home);
  await writeTinyWorkspace(workspace, {
    training: { num_train_epochs: 10_000, eval_steps: 1_000_000 },
  });
  const { json } = await runCli(['train', 'tiny.dota.json', '--detach', '--json'], workspace);
  return { home, pid: Number(json?.pid) };
}

const untilEnded = (pid: number): Promise<true> =>
  until(`the end of ${pid}`, () => !isRunning(pid));

/** Notes as the folder's owner, and as its server, processes that have ended. */
async function belongToThePast(home: string): Promise<void> {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => 0, 60_000)']);
  const past = identityOf(child.pid!);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  writeFileSync(path.join(home, 'owner.json'), JSON.stringify({ ...past, server: past }));
}

it('ends the trainers of a suite that is gone, and of no other', async () => {
  const gone = await suite('gone');
  const kept = await suite('kept');
  const other = await suite('other');
  await belongToThePast(gone.home);
  await belongToThePast(kept.home);
  writeFileSync(path.join(kept.home, 'keep'), '');
  claim(other.home);
  // Somebody else has the number of a trainer by now: here, these tests themselves.
  const stale = { pid: process.pid, processStart: 'another/boot/1' };
  writeFileSync(path.join(gone.home, 'lock.json'), JSON.stringify(stale));
  for (const { pid } of [gone, kept, other]) expect(isRunning(pid)).toBe(true);

  clearLeftovers(temporary);
  for (const { pid } of [gone, kept]) await untilEnded(pid);
  expect(existsSync(gone.home)).toBe(false);
  expect(existsSync(path.join(kept.home, 'workspaces'))).toBe(true);
  expect(isRunning(other.pid)).toBe(true);

  clear(other.home);
  await untilEnded(other.pid);
  expect(existsSync(other.home)).toBe(false);
});
