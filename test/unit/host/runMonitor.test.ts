import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ControlClaims, observingReason } from '../../../src/host/controlClaims';
import { runAccess } from '../../../src/host/runAccess';
import {
  RunMonitor,
  unresponsiveMs,
  type RunAccess,
  type TrainerLink,
} from '../../../src/host/runMonitor';
import type { RunSnapshot } from '../../../src/host/runSnapshot';
import { readLogTail } from '../../../src/panels/logTail';
import { JournalReader } from '../../../src/runs/journalReader';
import { isOwnFile } from '../../../src/runs/noFollow';
import { panelHtml } from '../../../src/panels/html';
import { DotaError } from '../../../src/protocol/errors';
import type { Liveness } from '../../../src/runs/liveness';
import { processStart } from '../../../src/runs/processIdentity';
import { textOfRun } from '../../../src/views/runsTree';
import { writeSyntheticRun } from '../../support/syntheticRun';

let root: string;
let monitor: RunMonitor;
let clock: number;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'dota-monitor-'));
  clock = Date.now();
});
afterEach(() => {
  monitor.dispose();
  rmSync(root, { recursive: true, force: true });
});

/** A trainer that is there, as far as the monitor can tell. */
class FakeTrainer implements TrainerLink {
  readonly commands: string[] = [];
  closed = false;
  change: () => void = () => undefined;
  send(command: string): Promise<void> {
    this.commands.push(command);
    return Promise.resolve();
  }
  progress(): undefined {
    return undefined;
  }
  onChange(callback: () => void): void {
    this.change = callback;
  }
  onClose(): void {
    // The monitor notices by the lock.
  }
  dispose(): void {
    this.closed = true;
  }
}

const lock = { pid: 1, processStart: 's', nonceId: 'n', socket: '', startedAt: '' };

function watch(changes: {
  liveness?: () => Liveness;
  attach?: RunAccess['attach'];
  forceStop?: RunAccess['forceStop'];
  trusted?: boolean;
  elsewhere?: string;
}): RunMonitor {
  const access: RunAccess = {
    attach: changes.attach ?? (() => Promise.resolve(undefined)),
    forceStop: changes.forceStop ?? (() => Promise.resolve()),
    readSnapshot: async (folder, before) => {
      const snapshot = await runAccess.readSnapshot(folder, before);
      const liveness = changes.liveness?.();
      return snapshot === undefined || liveness === undefined
        ? snapshot
        : ({ ...snapshot, liveness } satisfies RunSnapshot);
    },
  };
  monitor = new RunMonitor({
    roots: () => [root],
    access: () => Promise.resolve(access),
    controlledElsewhere: () => Promise.resolve(changes.elsewhere),
    mayAttach: () => changes.trusted !== false,
    log: () => undefined,
    now: () => clock,
  });
  return monitor;
}

const alive = { kind: 'alive', lock, record: {} as never } as const;

describe('RunMonitor', () => {
  it('lists, updates and drops runs, telling which changed', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 5 });
    watch({});
    const changed: (readonly string[])[] = [];
    monitor.onDidChange((keys) => changed.push(keys));
    await monitor.refresh();
    expect(monitor.list()).toHaveLength(1);
    expect(monitor.get(folder)).toMatchObject({
      state: 'finished',
      live: false,
      last: { step: 5 },
    });
    await monitor.refresh();
    expect(changed).toEqual([[folder]]);
    writeSyntheticRun(root, { id: 'a', steps: 5, manifest: { name: 'new name' } });
    await monitor.refresh();
    expect(monitor.get(folder)?.manifest.name).toBe('new name');
    rmSync(folder, { recursive: true });
    await monitor.refresh();
    expect(monitor.list()).toEqual([]);
    expect(changed.at(-1)).toEqual([folder]);
  });

  it('sends commands over the link and refuses what the state does not allow', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 5, state: 'running' });
    const trainer = new FakeTrainer();
    watch({ liveness: () => alive, attach: () => Promise.resolve(trainer) });
    await monitor.refresh();
    await monitor.command(folder, 'stop');
    expect(trainer.commands).toEqual(['stop']);
    await expect(monitor.command(folder, 'resume')).rejects.toMatchObject({ code: 'run.state' });
    monitor.dispose();
    expect(trainer.closed).toBe(true);
  });

  it('tells the caller when the trainer does not answer', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 5, state: 'running' });
    watch({
      liveness: () => alive,
      attach: () => Promise.reject(new DotaError('protocol.timeout', 'no')),
    });
    await monitor.refresh();
    await expect(monitor.command(folder, 'stop')).rejects.toMatchObject({
      code: 'protocol.timeout',
    });
  });

  it('shows a run whose trainer is gone as crashed, after a moment, and announces it once', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 5, state: 'running' });
    let liveness: Liveness = alive;
    watch({ liveness: () => liveness });
    const ends: string[] = [];
    monitor.onDidEnd((run) => ends.push(run.state));
    await monitor.refresh();
    expect(monitor.get(folder)).toMatchObject({ state: 'running', live: true });
    liveness = { kind: 'dead', lock };
    await monitor.refresh();
    // A trainer removes its lock a moment before or after it writes the final state.
    expect(monitor.get(folder)?.state).toBe('running');
    clock += 2000;
    await monitor.refresh();
    await monitor.refresh();
    expect(monitor.get(folder)).toMatchObject({ state: 'crashed', live: false });
    expect(ends).toEqual(['crashed']);
  });

  it('gives a run that is just starting time to take its lock', async () => {
    const createdAt = new Date(clock).toISOString();
    const folder = writeSyntheticRun(root, {
      id: 'a',
      steps: 0,
      state: 'created',
      manifest: { createdAt },
    });
    watch({});
    await monitor.refresh();
    expect(monitor.get(folder)?.state).toBe('created');
    clock += 60_000;
    await monitor.refresh();
    expect(monitor.get(folder)?.state).toBe('crashed');
  });

  it('offers Force Stop when heartbeat and messages have stopped', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 5, state: 'running' });
    const lockFile = path.join(folder, 'lock.json');
    writeFileSync(lockFile, '{}');
    const forceStop = vi.fn(() => Promise.resolve());
    watch({ liveness: () => alive, forceStop });
    await monitor.refresh();
    expect(monitor.get(folder)?.unresponsive).toBe(false);
    clock += unresponsiveMs + 2000;
    await monitor.refresh();
    expect(monitor.get(folder)?.unresponsive).toBe(true);
    await monitor.forceStop(folder);
    expect(forceStop).toHaveBeenCalledWith(folder);
    utimesSync(lockFile, clock / 1000, clock / 1000);
    await monitor.refresh();
    expect(monitor.get(folder)?.unresponsive).toBe(false);
  });

  it('connects to nothing in Restricted Mode', async () => {
    writeSyntheticRun(root, { id: 'a', steps: 5, state: 'running' });
    const attach = vi.fn(() => Promise.resolve(undefined));
    watch({ liveness: () => alive, attach, trusted: false });
    await monitor.refresh();
    expect(attach).not.toHaveBeenCalled();
  });

  it('observes when another window controls the run', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 5, state: 'running' });
    watch({ liveness: () => alive, elsewhere: observingReason });
    await monitor.refresh();
    expect(monitor.get(folder)?.controlDisabledReason).toBe(observingReason);
    await expect(monitor.command(folder, 'stop')).rejects.toThrow(observingReason);
  });
});

describe('a run folder from somebody else', () => {
  it('is neither signalled nor connected to, whatever its lock names', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 5, state: 'running' });
    const socket = path.join(root, 'elsewhere.sock');
    writeFileSync(
      path.join(folder, 'lock.json'),
      JSON.stringify({
        pid: process.ppid,
        processStart: (await processStart(process.ppid)) ?? '',
        nonceId: '../../../../etc/passwd',
        socket,
        startedAt: '',
      }),
    );
    const kill = vi.spyOn(process, 'kill');
    monitor = new RunMonitor({
      roots: () => [root],
      access: () => Promise.resolve(runAccess),
      controlledElsewhere: () => Promise.resolve(undefined),
      mayAttach: () => true,
      log: () => undefined,
    });
    await monitor.refresh();
    await expect(monitor.command(folder, 'stop')).rejects.toBeInstanceOf(DotaError);
    await expect(monitor.forceStop(folder)).rejects.toBeInstanceOf(DotaError);
    expect(kill.mock.calls.filter(([, signal]) => signal !== 0)).toEqual([]);
    expect(existsSync(socket)).toBe(false);
    kill.mockRestore();
  });

  it('is not followed through a link', async () => {
    const outside = mkdtempSync(path.join(tmpdir(), 'dota-outside-'));
    writeSyntheticRun(outside, { id: 'x', steps: 2 });
    symlinkSync(path.join(outside, 'x'), path.join(root, 'x'));
    watch({});
    await monitor.refresh();
    expect(monitor.list()).toEqual([]);
    rmSync(outside, { recursive: true });
  });

  it('has its files read and opened only where they are no links', async () => {
    const secret = path.join(root, 'secret');
    writeFileSync(secret, '{"kind":"step","step":7,"loss":1}\nsecret\n');
    const folder = writeSyntheticRun(root, { id: 'a', steps: 2 });
    for (const name of ['log.txt', 'metrics.jsonl', 'notes.md']) {
      rmSync(path.join(folder, name), { force: true });
      symlinkSync(secret, path.join(folder, name));
    }
    expect(await readLogTail(folder, 20)).toEqual([]);
    await expect(new JournalReader(path.join(folder, 'metrics.jsonl')).read()).rejects.toThrow();
    for (const name of ['log.txt', 'notes.md'])
      await expect(isOwnFile(path.join(folder, name))).rejects.toMatchObject({ code: 'usage' });
    watch({});
    await monitor.refresh();
    expect(monitor.get(folder)?.last).toBeUndefined();
  });

  it('survives nonsense, keeping what was read before', async () => {
    const folder = writeSyntheticRun(root, { id: 'a', steps: 2 });
    mkdirSync(path.join(root, 'b'));
    writeFileSync(path.join(root, 'b', 'run.json'), '[1, 2');
    watch({});
    await monitor.refresh();
    expect(monitor.list().map((r) => r.id)).toEqual(['a']);
    writeFileSync(path.join(folder, 'run.json'), '{"state": "on fire"}');
    writeFileSync(path.join(folder, 'lock.json'), '"?"');
    await monitor.refresh();
    expect(monitor.get(folder)?.manifest.name).toContain('arithmetic');
  });

  it('puts names on screen as text', async () => {
    const name = '<img src=x onerror=alert(1)> [a](command:x) $(flame)';
    const folder = writeSyntheticRun(root, { id: 'a', steps: 2, manifest: { name } });
    watch({});
    await monitor.refresh();
    expect(textOfRun(monitor.get(folder)!).label).toBe(name);
    const html = panelHtml({
      title: name,
      cspSource: 'vscode-resource:',
      scriptUri: 'https://x/metrics.js',
      styleUri: 'https://x/metrics.css',
      nonce: 'n',
    });
    expect(html).not.toContain('<img');
    expect(html).toContain('default-src &#39;none&#39;');
    expect(html).not.toMatch(/unsafe|style="|onerror=alert\(1\)>/);
  });
});

describe('ControlClaims', () => {
  it('lets the first window control, others observe, and passes control on', async () => {
    monitor = watch({});
    const folder = path.join(root, 'claims');
    const first = new ControlClaims(folder, 'one', () => clock);
    const second = new ControlClaims(folder, 'two', () => clock);
    expect(await first.claim('/r')).toBeUndefined();
    expect(await second.claim('/r')).toBe(observingReason);
    await second.take('/r');
    expect(await second.claim('/r')).toBeUndefined();
    clock += 6000;
    expect(await first.claim('/r')).toBe(observingReason);
    await second.release();
    expect(await first.claim('/r')).toBeUndefined();
  });

  it('ignores a claim whose window is gone or was not renewed', async () => {
    monitor = watch({});
    const folder = path.join(root, 'claims');
    const one = new ControlClaims(folder, 'one', () => clock);
    await one.claim('/r');
    const two = new ControlClaims(folder, 'two', () => clock + 60_000);
    expect(await two.claim('/r')).toBeUndefined();
    const [file] = readdirSync(folder).map((name) => path.join(folder, name));
    writeFileSync(file!, JSON.stringify({ session: 'dead', pid: 2 ** 30 }));
    expect(await one.claim('/other')).toBeUndefined();
    expect(readFileSync(file!, 'utf8')).toContain('dead');
  });
});
