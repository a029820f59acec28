/**
 * The metrics panel's host side. One panel a window; it shows any number of runs. Rows come from the
 * journals, so hiding or reloading the panel loses nothing: it asks again from where it is.
 */
import path from 'node:path';
import { commands, Uri, type Disposable, type WebviewPanel } from 'vscode';
import { commandIds, panelTypes, viewIds } from '../commands/ids';
import type { RunMonitor } from '../host/runMonitor';
import { throttle } from '../host/throttle';
import type { Ui } from '../host/ui';
import {
  parseMetricsViewMessage,
  type MetricsHostMessage,
  type MetricsViewMessage,
  type RunCommand,
  type RunLink,
} from '../protocol/metricsPanel';
import { JournalFeed } from './journalFeed';
import { readLogTail } from './logTail';
import { createPanel, fill, type PanelKind } from './panelHost';
import { summaryOf } from './runSummary';
import { saveFile } from './saveFile';

const kind: PanelKind = { viewType: panelTypes.metrics, title: 'DoTA Metrics', bundle: 'metrics' };
/** At most this many updates a second reach the panel. */
const updatesPerSecond = 5;
const logLines = 20;

const commandOf: Record<RunCommand, string> = {
  stop: commandIds.runStop,
  pause: commandIds.runPause,
  resume: commandIds.runResume,
  forceStop: commandIds.runForceStop,
};

export class MetricsPanel implements Disposable {
  private panel: WebviewPanel | undefined;
  /** Runs to show when the panel says that it is ready. */
  private selected: string[] = [];
  private ready = false;
  /** Runs that were opened while the panel was hidden: they lead when it is back. */
  private asked: readonly string[] = [];
  private readonly feeds = new Map<string, JournalFeed>();
  private readonly logSent = new Set<string>();
  private pumping: Promise<void> = Promise.resolve();
  private readonly changed = new Set<string>();
  private readonly update = throttle(1000 / updatesPerSecond, () => {
    this.pumping = this.pumping
      .then(() => this.pump())
      .catch((error: unknown) => {
        this.ui.log.error(`Metrics panel: ${String(error)}`);
      });
  });
  private readonly subscription: Disposable;

  constructor(
    private readonly extensionUri: Uri,
    private readonly monitor: RunMonitor,
    private readonly ui: Ui,
  ) {
    this.subscription = monitor.onDidChange((keys) => {
      for (const key of keys) this.changed.add(key);
      if (this.ready) this.update();
    });
  }

  /** Opens or reveals the panel and shows these runs as well. */
  open(keys: readonly string[]): void {
    if (this.panel === undefined) {
      this.selected = [...keys];
      this.adopt(createPanel(this.extensionUri, kind));
      return;
    }
    this.panel.reveal();
    for (const key of keys) if (!this.selected.includes(key)) this.selected.unshift(key);
    if (this.ready) void this.select(keys);
    else this.asked = [...keys];
  }

  /** The panel must know a run before it can show it. */
  private async select(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const run = this.monitor.get(key);
      if (run !== undefined) await this.post({ type: 'run', run: await summaryOf(run) });
    }
    await this.post({ type: 'select', runIds: keys });
  }

  /** Takes over a panel that the editor restored after a reload. */
  restore(panel: WebviewPanel): void {
    this.panel?.dispose();
    this.adopt(fill(panel, this.extensionUri, kind));
  }

  private adopt(panel: WebviewPanel): void {
    this.panel = panel;
    this.ready = false;
    const listening = panel.webview.onDidReceiveMessage((raw: unknown) => {
      const message = parseMetricsViewMessage(raw);
      if (message !== undefined) void this.receive(message);
    });
    panel.onDidChangeViewState(() => {
      // A hidden webview is torn down; it says `ready` again when shown.
      if (!panel.visible) this.ready = false;
    });
    panel.onDidDispose(() => {
      listening.dispose();
      if (this.panel !== panel) return;
      this.panel = undefined;
      this.ready = false;
      this.feeds.clear();
      this.selected = [];
    });
  }

  private async receive(message: MetricsViewMessage): Promise<void> {
    try {
      switch (message.type) {
        case 'ready':
          // A panel that the editor restored asks before the folders were read.
          await this.monitor.ready();
          this.ready = true;
          this.logSent.clear();
          await this.post({
            type: 'init',
            runs: await Promise.all(this.monitor.list().map(summaryOf)),
            selected: this.selected,
          });
          if (this.asked.length > 0) await this.select(this.asked);
          this.asked = [];
          this.subscribe(message.since);
          return;
        case 'subscribe':
          // What the panel shows now, it shows again when it was hidden: not what it was opened with.
          this.selected = Object.keys(message.since);
          this.subscribe(message.since);
          return;
        case 'command':
          await commands.executeCommand(commandOf[message.command], { key: message.runId });
          return;
        case 'open':
          await this.openLink(message.runId, message.what);
          return;
        case 'startRun':
          await commands.executeCommand(commandIds.fineTune);
          return;
        case 'exportCsv':
          await saveFile(message.fileName, Buffer.from(message.text, 'utf8'));
          return;
        case 'exportPng':
          await saveFile(message.fileName, message.bytes);
          return;
      }
    } catch (error) {
      this.ui.showError(error);
    }
  }

  private async openLink(key: string, what: RunLink): Promise<void> {
    if (this.monitor.get(key) === undefined) return;
    switch (what) {
      case 'log':
        await commands.executeCommand(commandIds.runShowLog, { key });
        return;
      case 'folder':
        await commands.executeCommand(commandIds.runReveal, { key });
        return;
      case 'config':
        await commands.executeCommand('vscode.open', Uri.file(path.join(key, 'run.json')));
        return;
      case 'tree':
        await commands.executeCommand(`${viewIds.runs}.focus`);
        return;
    }
  }

  private subscribe(since: Readonly<Record<string, number>>): void {
    for (const key of this.feeds.keys()) if (!(key in since)) this.feeds.delete(key);
    for (const [key, seq] of Object.entries(since)) {
      // Only runs of this window: a panel cannot make the host read any other file.
      if (this.monitor.get(key) === undefined) continue;
      const feed = this.feeds.get(key) ?? new JournalFeed(path.join(key, 'metrics.jsonl'));
      feed.seek(seq);
      this.feeds.set(key, feed);
      this.changed.add(key);
    }
    this.update();
  }

  private async pump(): Promise<void> {
    const keys = [...this.changed];
    this.changed.clear();
    for (const key of keys) {
      if (!this.ready) return;
      const run = this.monitor.get(key);
      if (run === undefined) {
        this.feeds.delete(key);
        await this.post({ type: 'removed', runId: key });
        continue;
      }
      await this.post({ type: 'run', run: await summaryOf(run) });
      const feed = this.feeds.get(key);
      if (feed === undefined) continue;
      await this.send(key, feed);
      const broken = run.state === 'failed' || run.state === 'crashed';
      if (broken && !this.logSent.has(key)) {
        this.logSent.add(key);
        await this.post({ type: 'log', runId: key, lines: await readLogTail(key, logLines) });
      }
      if (!broken) this.logSent.delete(key);
    }
  }

  private async send(key: string, feed: JournalFeed): Promise<void> {
    for await (const piece of feed.read()) {
      if (this.feeds.get(key) !== feed) return;
      await this.post({
        type: 'append',
        runId: key,
        seq: piece.seq,
        ...(piece.reset ? { reset: true } : {}),
        ...(piece.supersedeAbove === undefined ? {} : { supersedeAbove: piece.supersedeAbove }),
        steps: piece.steps,
        evals: piece.evals,
        complete: piece.complete,
      });
    }
  }

  private async post(message: MetricsHostMessage): Promise<void> {
    await this.panel?.webview.postMessage(message);
  }

  dispose(): void {
    this.update.cancel();
    this.subscription.dispose();
  }
}
