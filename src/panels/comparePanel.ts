/**
 * The compare panel's host side: shows chosen runs or a study, and follows a study that runs. It
 * remembers where the numbers come from, not the numbers: after a reload they are read again.
 */
import type { Disposable, Memento, Uri, WebviewPanel } from 'vscode';
import { panelTypes } from '../commands/ids';
import type { Ui } from '../host/ui';
import {
  parseCompareViewMessage,
  type CompareHostMessage,
  type CompareViewMessage,
} from '../protocol/comparePanel';
import { serializeError } from '../protocol/errors';
import { parseComparisonSource, type Comparison, type ComparisonSource } from './comparisonSource';
import { createPanel, fill, type PanelKind } from './panelHost';
import { saveFile } from './saveFile';

const kind: PanelKind = { viewType: panelTypes.compare, title: 'DoTA Compare', bundle: 'compare' };
const memoryKey = 'dota.compare.source';

export class ComparePanel implements Disposable {
  private panel: WebviewPanel | undefined;
  private source: ComparisonSource | undefined;
  private shown: Comparison | undefined;
  private progress: Extract<CompareHostMessage, { type: 'progress' }> | undefined;
  private reading: Promise<void> | undefined;
  private outdated = false;

  constructor(
    private readonly extensionUri: Uri,
    private readonly ui: Ui,
    private readonly memory: Memento,
    private readonly read: (source: ComparisonSource) => Promise<Comparison>,
    /** Asks the user what to compare. */
    private readonly choose: () => void,
  ) {}

  /** Opens or reveals the panel with what this names. @throws DotaError when it cannot be read */
  async open(source: ComparisonSource): Promise<void> {
    const shown = await this.read(source);
    this.source = source;
    this.shown = shown;
    this.progress = undefined;
    void this.memory.update(memoryKey, source);
    if (this.panel === undefined) this.adopt(createPanel(this.extensionUri, kind));
    else {
      this.panel.reveal();
      void this.send();
    }
  }

  /**
   * There are new results. Asked for again while they are read, they are read once more; something else
   * that the panel shows by now stays, and a panel that was closed stays closed.
   * @throws DotaError when they cannot be read
   */
  refresh(source: ComparisonSource): Promise<void> {
    if (source !== this.source) return Promise.resolve();
    this.outdated = true;
    this.reading ??= this.readAgain(source).finally(() => {
      this.reading = undefined;
    });
    return this.reading;
  }

  private async readAgain(source: ComparisonSource): Promise<void> {
    while (this.outdated && source === this.source) {
      this.outdated = false;
      const shown = await this.read(source);
      if (source !== this.source) return;
      this.shown = shown;
      await this.send();
    }
  }

  showProgress(source: ComparisonSource, text: string, done: number, total: number): void {
    if (source !== this.source) return;
    this.progress = { type: 'progress', text, done, total };
    void this.send();
  }

  /** Nothing runs any more: what was said of it goes. */
  endProgress(source: ComparisonSource): void {
    const { progress } = this;
    if (source !== this.source || progress === undefined) return;
    this.progress = undefined;
    void this.post({ ...progress, done: progress.total });
  }

  /** Takes over a panel that the editor restored after a reload. */
  restore(panel: WebviewPanel): void {
    this.panel?.dispose();
    this.adopt(fill(panel, this.extensionUri, kind));
  }

  private adopt(panel: WebviewPanel): void {
    this.panel = panel;
    const listening = panel.webview.onDidReceiveMessage((raw: unknown) => {
      const message = parseCompareViewMessage(raw);
      if (message !== undefined) void this.receive(message);
    });
    panel.onDidDispose(() => {
      listening.dispose();
      if (this.panel === panel) this.panel = undefined;
    });
  }

  private async receive(message: CompareViewMessage): Promise<void> {
    try {
      switch (message.type) {
        case 'ready':
          if (this.shown === undefined) await this.recall();
          await this.send();
          return;
        case 'choose':
          this.choose();
          return;
        case 'export':
          await saveFile(message.fileName, Buffer.from(message.text, 'utf8'));
          return;
      }
    } catch (error) {
      await this.post({ type: 'error', error: serializeError(error) });
      this.ui.showError(error);
    }
  }

  /** After a reload the panel is back before anybody asked for something. */
  private async recall(): Promise<void> {
    const source = parseComparisonSource(this.memory.get<unknown>(memoryKey));
    if (source === undefined) return;
    const shown = await this.read(source);
    // Meanwhile something else may have been asked for.
    if (this.source !== undefined) return;
    this.source = source;
    this.shown = shown;
  }

  private async send(): Promise<void> {
    await this.post({ type: 'runs', ...(this.shown ?? { title: '', runs: [] }) });
    if (this.progress !== undefined) await this.post(this.progress);
  }

  private async post(message: CompareHostMessage): Promise<void> {
    await this.panel?.webview.postMessage(message);
  }

  dispose(): void {
    this.panel?.dispose();
  }
}
