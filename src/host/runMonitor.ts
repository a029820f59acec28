/**
 * Watches run folders and keeps what the editor shows in step with them. The folder is the only truth:
 * state is read again and again, the control socket only says that something happened. What a folder
 * says is untrusted; nothing is signalled on its word.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import type { RunState, TrainerCommand } from '../protocol/runFiles';
import type { TrainerProgress } from '../protocol/trainerMessages';
import { Listeners } from './listeners';
import type { RunSnapshot } from './runSnapshot';
import { isFinal, refusal, type RunView } from './runView';

/** A connection to a trainer that has proved its identity. */
export interface TrainerLink {
  send(command: TrainerCommand): Promise<void>;
  /** What it last said that it is doing. */
  progress(): TrainerProgress | undefined;
  /** Something happened: the journal grew, the state changed. */
  onChange(callback: () => void): void;
  onClose(callback: () => void): void;
  dispose(): void;
}

/** What the monitor needs of run folders and trainers; loaded when the first scan needs it. */
export interface RunAccess {
  readSnapshot: (
    folder: string,
    before: RunSnapshot | undefined,
  ) => Promise<RunSnapshot | undefined>;
  /** undefined when there is no trainer of this user. @throws DotaError when it does not answer */
  attach: (folder: string) => Promise<TrainerLink | undefined>;
  /** Signals only a process that the user's own record names. @throws DotaError `run.state` */
  forceStop: (folder: string) => Promise<void>;
}

export interface MonitorOptions {
  /** Folders that hold run folders; may change. */
  roots: () => readonly string[];
  access: () => Promise<RunAccess>;
  /** Why this window does not control a run; undefined = it does. */
  controlledElsewhere: (folder: string) => Promise<string | undefined>;
  /** False in Restricted Mode: nothing is connected to. */
  mayAttach: () => boolean;
  log: (message: string) => void;
  now?: () => number;
}

const livePollMs = 500;
const idlePollMs = 2000;
/** Ended runs are looked at again every so many ticks. */
const slowEvery = 5;
/** A starting trainer gets this long to take its lock before its run counts as crashed. */
const startGraceMs = 15_000;
/** Between writing the final state and removing the lock, or the other way round. */
const endGraceMs = 1500;
/** Without a heartbeat (one every 5 s) or a message for this long, Force Stop is offered. */
export const unresponsiveMs = 17_000;
/** Run folders read at a time. */
const readTogether = 16;
const attachEveryMs = 2000;

interface Watched {
  view: RunView;
  snapshot: RunSnapshot;
  link?: TrainerLink;
  attaching?: Promise<void>;
  attachTriedAt: number;
  /** When a message of the trainer last came. */
  heardAt: number;
  /** Since when the manifest says running and no lock stands. */
  orphanSince?: number;
  seenLive: boolean;
}

export class RunMonitor {
  private readonly runs = new Map<string, Watched>();
  private readonly changes = new Listeners<readonly string[]>();
  private readonly ends = new Listeners<RunView>();
  private timer: NodeJS.Timeout | undefined;
  private ticking: Promise<void> | undefined;
  private tickCount = 0;
  private disposed = false;
  private readonly now: () => number;

  /** Keys of runs that appeared, changed or went. */
  readonly onDidChange = this.changes.subscribe;
  /** A run that this window saw live has ended, in whatever way. */
  readonly onDidEnd = this.ends.subscribe;

  constructor(private readonly options: MonitorOptions) {
    this.now = options.now ?? Date.now;
  }

  start(): void {
    this.schedule(0);
  }

  /** Resolves when everything was read once. */
  async ready(): Promise<void> {
    if (this.tickCount === 0) await this.tick();
    else await this.ticking;
  }

  list(): readonly RunView[] {
    return [...this.runs.values()].map((w) => w.view);
  }

  get(key: string): RunView | undefined {
    return this.runs.get(key)?.view;
  }

  /** Looks at everything now. */
  async refresh(): Promise<void> {
    await this.ticking;
    this.tickCount = 0;
    await this.tick();
  }

  /**
   * Asks the trainer of a run.
   * @throws DotaError `run.state` with the reason for a refusal
   */
  async command(key: string, command: TrainerCommand): Promise<void> {
    const watched = this.require(key);
    const reason = refusal(watched.view, command);
    if (reason !== undefined) throw new DotaError('run.state', reason);
    await this.ensureLink(watched);
    const { link } = watched;
    if (link === undefined) throw noAnswer(key);
    await link.send(command);
    this.schedule(0);
  }

  /**
   * Kills a trainer that no longer answers.
   * @throws DotaError `run.state`, also when the process was not started by this user
   */
  async forceStop(key: string): Promise<void> {
    const watched = this.require(key);
    const reason = refusal(watched.view, 'forceStop');
    if (reason !== undefined) throw new DotaError('run.state', reason);
    const { forceStop } = await this.options.access();
    await forceStop(key);
    await this.refresh();
  }

  private require(key: string): Watched {
    const watched = this.runs.get(key);
    if (watched === undefined) {
      throw new DotaError('run.state', 'The run folder is gone.', { where: key });
    }
    return watched;
  }

  private schedule(delay: number): void {
    if (this.disposed) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      void this.tick().finally(() => {
        const anyLive = [...this.runs.values()].some((w) => w.view.live);
        this.schedule(anyLive ? livePollMs : idlePollMs);
      });
    }, delay);
    this.timer.unref();
  }

  private tick(): Promise<void> {
    this.ticking ??= this.scan()
      .catch((error: unknown) => {
        this.options.log(`Reading run folders failed: ${String(error)}`);
      })
      .finally(() => {
        this.ticking = undefined;
      });
    return this.ticking;
  }

  private async scan(): Promise<void> {
    const slow = this.tickCount % slowEvery === 0;
    this.tickCount += 1;
    const changed: string[] = [];
    const present = new Set<string>();
    for (const root of this.options.roots()) {
      for (const folder of await runFolders(root)) present.add(folder);
    }
    for (const [key, watched] of this.runs) {
      if (present.has(key)) continue;
      watched.link?.dispose();
      this.runs.delete(key);
      changed.push(key);
    }
    const due = [...present].filter((key) => {
      const before = this.runs.get(key);
      return before === undefined || before.view.live || slow || isOpen(before);
    });
    for (let i = 0; i < due.length; i += readTogether) {
      const group = due.slice(i, i + readTogether);
      const updates = await Promise.all(group.map((key) => this.update(key, this.runs.get(key))));
      changed.push(...group.filter((_, k) => updates[k]));
    }
    if (changed.length > 0 && !this.disposed) this.changes.fire(changed);
  }

  /** Reads one folder; true when what is shown changed. */
  private async update(key: string, before: Watched | undefined): Promise<boolean> {
    const access = await this.options.access();
    const snapshot = await access.readSnapshot(key, before?.snapshot);
    if (snapshot === undefined) return this.runs.delete(key);
    const now = this.now();
    const watched: Watched = before ?? {
      view: undefined as never,
      snapshot,
      attachTriedAt: 0,
      heardAt: 0,
      seenLive: false,
    };
    const old = before?.view;
    watched.snapshot = snapshot;
    const { liveness, manifest } = snapshot;
    const live =
      (liveness.kind === 'alive' || liveness.kind === 'unknown') && !isFinal(manifest.state);
    if (live && liveness.kind === 'alive' && this.options.mayAttach()) this.keepLinked(watched);
    if (!live && watched.link !== undefined) {
      watched.link.dispose();
      delete watched.link;
    }
    const state = this.stateOf(watched, live);
    const elsewhere = !live
      ? undefined
      : liveness.kind === 'unknown'
        ? liveness.reason
        : await this.options.controlledElsewhere(key);
    const heard = Math.max(watched.heardAt, snapshot.heartbeat);
    const activity = live ? watched.link?.progress() : undefined;
    const view: RunView = {
      key,
      id: path.basename(key),
      manifest: snapshot.manifest,
      state,
      live,
      unresponsive: live && now - heard > unresponsiveMs,
      observed: elsewhere !== undefined && liveness.kind === 'alive',
      resumable: snapshot.hasCheckpoint,
      ...(elsewhere === undefined ? {} : { controlDisabledReason: elsewhere }),
      ...(snapshot.last === undefined ? {} : { last: snapshot.last }),
      ...(activity === undefined ? {} : { activity }),
    };
    watched.view = view;
    this.runs.set(key, watched);
    if (watched.seenLive && !live && state !== 'running' && state !== 'created') {
      watched.seenLive = false;
      this.ends.fire(view);
    }
    if (live) watched.seenLive = true;
    return old === undefined || !sameView(old, view);
  }

  private stateOf(watched: Watched, live: boolean): RunState {
    const { manifest, liveness } = watched.snapshot;
    if (live || isFinal(manifest.state)) {
      delete watched.orphanSince;
      return manifest.state;
    }
    const now = this.now();
    watched.orphanSince ??= now;
    const created = Date.parse(manifest.createdAt);
    const starting =
      manifest.state === 'created' && now - created < startGraceMs && liveness.kind === 'none';
    const grace = watched.seenLive ? endGraceMs : 0;
    return starting || now - watched.orphanSince < grace ? manifest.state : 'crashed';
  }

  private keepLinked(watched: Watched): void {
    if (watched.link === undefined && this.now() - watched.attachTriedAt >= attachEveryMs) {
      void this.ensureLink(watched);
    }
  }

  private ensureLink(watched: Watched): Promise<void> {
    if (watched.link !== undefined) return Promise.resolve();
    watched.attachTriedAt = this.now();
    watched.attaching ??= this.attachTo(watched).finally(() => {
      delete watched.attaching;
    });
    return watched.attaching;
  }

  private async attachTo(watched: Watched): Promise<void> {
    // A new watched run has no view before its first update is over.
    const key = watched.snapshot.folder;
    try {
      const { attach } = await this.options.access();
      const link = await attach(key);
      if (link === undefined) return;
      if (this.disposed || this.runs.get(key) !== watched) {
        link.dispose();
        return;
      }
      watched.link = link;
      watched.heardAt = this.now();
      link.onChange(() => {
        watched.heardAt = this.now();
        this.schedule(0);
      });
      link.onClose(() => {
        if (watched.link === link) delete watched.link;
        this.schedule(0);
      });
    } catch (error) {
      this.options.log(
        `${path.basename(key)}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.timer);
    for (const { link } of this.runs.values()) link?.dispose();
  }
}

/** Plain folders only: a link could lead anywhere. */
async function runFolders(root: string): Promise<string[]> {
  try {
    const entries = await readdir(root, { withFileTypes: true });
    return entries.filter((e) => e.isDirectory()).map((e) => path.join(root, e.name));
  } catch {
    return [];
  }
}

/** Not ended as far as its manifest says, so that it is looked at on every tick. */
function isOpen(watched: Watched): boolean {
  return watched.seenLive || watched.snapshot.liveness.kind !== 'none';
}

function sameView(a: RunView, b: RunView): boolean {
  return (
    a.state === b.state &&
    a.live === b.live &&
    a.unresponsive === b.unresponsive &&
    a.controlDisabledReason === b.controlDisabledReason &&
    a.resumable === b.resumable &&
    a.last?.step === b.last?.step &&
    a.activity?.phase === b.activity?.phase &&
    a.activity?.done === b.activity?.done &&
    a.activity?.totalSteps === b.activity?.totalSteps &&
    JSON.stringify(a.manifest) === JSON.stringify(b.manifest)
  );
}

function noAnswer(key: string): DotaError {
  return new DotaError('protocol.timeout', 'The trainer does not answer.', {
    where: key,
    next: 'Try again in a moment, or use Force Stop.',
  });
}
