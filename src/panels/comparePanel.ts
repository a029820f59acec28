/** The compare panel's host side: shows chosen runs or a study, and follows a study that runs. */
import type { Disposable, Uri, WebviewPanel } from 'vscode';
import { panelTypes } from '../commands/ids';
import type { Ui } from '../host/ui';
import {
  parseCompareViewMessage,
  type CompareHostMessage,
  type CompareViewMessage,
} from '../protocol/comparePanel';
import { serializeError } from '../protocol/errors';
import { createPanel, fill, type PanelKind } from './panelHost';
import { saveFile } from './saveFile';

const kind: PanelKind = { viewType: panelTypes.compare, title: 'DoTA Compare', bundle: 'compare' };

export type Comparison = Omit<Extract<CompareHostMessage, { type: 'runs' }>, 'type'>;

export class ComparePanel implements Disposable {
  private panel: WebviewPanel | undefined;
  private shown: Comparison | undefined;
  private progress: Extract<CompareHostMessage, { type: 'progress' }> | undefined;

  constructor(
    private readonly extensionUri: Uri,
    private readonly ui: Ui,
    /** Asks the user what to compare. */
    private readonly choose: () => void,
  ) {}

  /** Opens or reveals the panel with this comparison. */
  open(comparison: Comparison): void {
    this.shown = comparison;
    this.progress = undefined;
    if (this.panel === undefined) this.adopt(createPanel(this.extensionUri, kind));
    else {
      this.panel.reveal();
      void this.send();
    }
  }

  /** New results of what is shown; a panel that was closed meanwhile stays closed. */
  update(comparison: Comparison): void {
    this.shown = comparison;
    void this.send();
  }

  showProgress(text: string, done: number, total: number): void {
    this.progress = { type: 'progress', text, done, total };
    void this.send();
  }

  /** Nothing runs any more: what was said of it goes. */
  endProgress(): void {
    const { progress } = this;
    this.progress = undefined;
    if (progress !== undefined) void this.post({ ...progress, done: progress.total });
  }

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

  private async send(): Promise<void> {
    if (this.shown !== undefined) await this.post({ type: 'runs', ...this.shown });
    if (this.progress !== undefined) await this.post(this.progress);
  }

  private async post(message: CompareHostMessage): Promise<void> {
    await this.panel?.webview.postMessage(message);
  }

  dispose(): void {
    this.panel?.dispose();
  }
}
