/** Locks, liveness and the control socket, against real processes and real sockets. */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LockFile } from '../../../src/protocol/runFiles';
import type { TrainerStatus } from '../../../src/protocol/trainerMessages';
import { attachToRun, forceStop } from '../../../src/runs/attach';
import { CommandFollower, writeCommand } from '../../../src/runs/commandFile';
import { ControlServer, newSocketPath } from '../../../src/runs/controlServer';
import { checkLiveness } from '../../../src/runs/liveness';
import { RunLock } from '../../../src/runs/lock';
import { randomHex, writeOwnerRecord } from '../../../src/runs/ownerRecord';
import { processStart } from '../../../src/runs/processIdentity';
import { runFolder, type RunFolder } from '../../../src/runs/runFolder';
import { userFolder } from '../../../src/runs/userFolder';

let place: string;
let folder: RunFolder;
const children: ChildProcess[] = [];

beforeEach(() => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-lock-'));
  folder = runFolder(place);
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(place, { recursive: true, force: true });
});

/** A process of ours that does nothing, standing for somebody else's. */
async function bystander(): Promise<{ pid: number; start: string; alive: () => Promise<boolean> }> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  children.push(child);
  const pid = child.pid!;
  const start = (await processStart(pid))!;
  return { pid, start, alive: async () => (await processStart(pid)) === start };
}

function forge(lock: Partial<LockFile>): void {
  writeFileSync(
    folder.lock,
    JSON.stringify({
      pid: 1,
      processStart: 'x',
      nonceId: randomHex(16),
      socket: '',
      startedAt: new Date().toISOString(),
      ...lock,
    }),
  );
}

function statusOf(): TrainerStatus {
  return {
    runId: folder.id,
    pid: process.pid,
    state: 'running',
    progress: { phase: 'training', step: 3, totalSteps: 9, epoch: 0.5 },
    journalBytes: 10,
  };
}

async function serve(
  nonce: string,
  told: string[],
): Promise<{ socket: string; server: ControlServer }> {
  const socket = await newSocketPath();
  const server = await ControlServer.listen(socket, nonce, {
    status: statusOf,
    stop: () => told.push('stop'),
    pause: () => told.push('pause'),
    resume: () => told.push('resume'),
  });
  return { socket, server: server! };
}

describe('RunLock', () => {
  it('lets one in, tells the other who holds it, and leaves nothing behind', async () => {
    const lock = await RunLock.acquire(folder, '', randomHex(32));
    await expect(RunLock.acquire(folder, '', randomHex(32))).rejects.toMatchObject({
      code: 'run.locked',
      message: expect.stringContaining(String(process.pid)) as string,
    });
    expect((await checkLiveness(folder)).kind).toBe('alive');
    await lock.release();
    expect(readdirSync(place)).toEqual([]);
    expect((await checkLiveness(folder)).kind).toBe('none');
    const record = path.join(await userFolder(), `${lock.lock.nonceId}.json`);
    expect(existsSync(record)).toBe(false);
  });

  it('lets exactly one of many rivals take a dead lock over', async () => {
    forge({ pid: 2 ** 22 + 1, processStart: 'gone' });
    const tries = await Promise.allSettled(
      Array.from({ length: 8 }, () => RunLock.acquire(folder, '', randomHex(32))),
    );
    const won = tries.filter((t) => t.status === 'fulfilled');
    expect(won.length).toBe(1);
    const lock = (won[0] as PromiseFulfilledResult<RunLock>).value;
    expect(await lock.isOurs()).toBe(true);
    await lock.release();
    expect(readdirSync(place)).toEqual([]);
  });

  it('takes over a lock that is no JSON, and one whose number a later process has', async () => {
    writeFileSync(folder.lock, 'garbage');
    await (await RunLock.acquire(folder, '', randomHex(32))).release();
    const other = await bystander();
    forge({ pid: other.pid, processStart: 'an earlier process' });
    expect((await checkLiveness(folder)).kind).toBe('dead');
    await (await RunLock.acquire(folder, '', randomHex(32))).release();
    expect(await other.alive()).toBe(true);
  });

  it('keeps the nonce in a folder that nobody else may enter', async () => {
    const lock = await RunLock.acquire(folder, '', randomHex(32));
    if (process.platform !== 'win32') {
      expect(statSync(await userFolder()).mode & 0o777).toBe(0o700);
    }
    expect(readFileSync(folder.lock, 'utf8')).not.toContain('"nonce"');
    await lock.release();
  });
});

describe('a lock from elsewhere', () => {
  it('names a running process: nothing is signalled or connected to', async () => {
    const other = await bystander();
    const socket = path.join(place, 's');
    let connections = 0;
    const server: Server = createServer(() => (connections += 1)).listen(socket);
    forge({ pid: other.pid, processStart: other.start, socket });
    expect((await checkLiveness(folder)).kind).toBe('unknown');
    expect((await attachToRun(folder)).kind).toBe('unknown');
    await expect(forceStop(folder)).rejects.toMatchObject({ code: 'run.state' });
    await expect(RunLock.acquire(folder, '', randomHex(32))).rejects.toMatchObject({
      code: 'run.locked',
    });
    expect(await other.alive()).toBe(true);
    expect(connections).toBe(0);
    server.close();
  });

  it('borrows the id of a real record: pid, socket and folder must be the recorded ones', async () => {
    const other = await bystander();
    const nonceId = randomHex(16);
    const real = {
      nonce: randomHex(32),
      pid: other.pid,
      processStart: other.start,
      runFolder: realpathSync(place),
      socket: '',
    };
    // A record of another run, as a copied run folder would have.
    await writeOwnerRecord(nonceId, { ...real, runFolder: tmpdir() });
    forge({ pid: other.pid, processStart: other.start, nonceId });
    expect((await checkLiveness(folder)).kind).toBe('unknown');
    await expect(forceStop(folder)).rejects.toMatchObject({ code: 'run.state' });
    // The right record, but the lock names another socket.
    await writeOwnerRecord(nonceId, real);
    forge({ pid: other.pid, processStart: other.start, nonceId, socket: '/elsewhere.sock' });
    expect((await checkLiveness(folder)).kind).toBe('unknown');
    expect(await other.alive()).toBe(true);
    // All true: this is what a trainer of ours looks like, and only that is ended.
    forge({ pid: other.pid, processStart: other.start, nonceId });
    expect((await checkLiveness(folder)).kind).toBe('alive');
    await forceStop(folder);
    await expect.poll(other.alive).toBe(false);
    rmSync(path.join(await userFolder(), `${nonceId}.json`));
  });

  it('names a file by a nonce id with a path in it', async () => {
    forge({ nonceId: '../../../etc/passwd' });
    expect((await checkLiveness(folder)).kind).toBe('dead');
  });
});

describe('control socket', () => {
  it('proves both sides, answers, and sends events', async () => {
    const nonce = randomHex(32);
    const told: string[] = [];
    const { socket, server } = await serve(nonce, told);
    const lock = await RunLock.acquire(folder, socket, nonce);
    const events: unknown[] = [];
    const attached = await attachToRun(folder, {
      onJournal: (bytes) => events.push(['journal', bytes]),
      onState: (state) => events.push(['state', state]),
      onClose: () => events.push(['close']),
    });
    if (attached.kind !== 'attached') throw new Error(attached.kind);
    expect(attached.control.status).toEqual(statusOf());
    await attached.control.send('pause');
    await attached.control.send('stop');
    expect(told).toEqual(['pause', 'stop']);
    server.journal(99);
    server.state('stopped');
    await expect.poll(() => events.length).toBe(2);
    await server.close();
    await expect.poll(() => events.length).toBe(3);
    expect(events).toEqual([['journal', 99], ['state', 'stopped'], ['close']]);
    await lock.release();
  });

  it('does not take an impostor for the trainer, nor commands from whoever cannot prove himself', async () => {
    const told: string[] = [];
    // It listens where the record says, but knows another nonce.
    const { socket, server } = await serve(randomHex(32), told);
    const lock = await RunLock.acquire(folder, socket, randomHex(32));
    const attached = await attachToRun(folder);
    expect(attached.kind).toBe('unresponsive');
    expect(told).toEqual([]);
    await server.close();
    await lock.release();
  });

  it('is short enough for the system', async () => {
    expect(Buffer.byteLength(await newSocketPath())).toBeLessThan(104);
  });
});

describe('command file', () => {
  it('delivers each command once, and none that was there before', async () => {
    await writeCommand(folder, 'stop');
    const follower = await CommandFollower.start(folder);
    expect(await follower.next()).toBeUndefined();
    await writeCommand(folder, 'pause');
    expect(await follower.next()).toBe('pause');
    expect(await follower.next()).toBeUndefined();
    writeFileSync(folder.command, '{"command":"rm -rf","serial":99}');
    expect(await follower.next()).toBeUndefined();
  });
});
