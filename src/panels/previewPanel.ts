/** The dataset preview's host side: `dota preview` in a child, its lines passed on to the panel. */
import { window, Range, Uri, workspace, type Disposable, type WebviewPanel } from 'vscode';
import { panelTypes } from '../commands/ids';
import type { Trainer } from '../host/trainer';
import type { Ui } from '../host/ui';
import type { DatasetReport, PreviewSettings, RowFlag } from '../protocol/datasetPreview';
import { DotaError, serializeError } from '../protocol/errors';
import { isObject } from '../protocol/guards';
import {
  pageSize,
  parsePreviewEvent,
  parsePreviewSource,
  parsePreviewViewMessage,
  type PreviewHostMessage,
  type PreviewSource,
  type PreviewTrial,
  type PreviewViewMessage,
} from '../protocol/previewPanel';
import { createPanel, fill, type PanelKind } from './panelHost';

const kind: PanelKind = {
  viewType: panelTypes.preview,
  title: 'Dataset Preview',
  bundle: 'preview',
};

export class PreviewPanel implements Disposable {
  private panel: WebviewPanel | undefined;
  private source: PreviewSource | undefined;
  private trial: PreviewTrial | undefined;
  private settings: PreviewSettings | undefined;
  private report: DatasetReport | undefined;
  /** The child that counts (and has given the first page), and the one that fetches a page. */
  private counting: AbortController | undefined;
  private paging: AbortController | undefined;

  constructor(
    private readonly extensionUri: Uri,
    private readonly trainer: Trainer,
    private readonly ui: Ui,
  ) {}

  open(source: PreviewSource): void {
    this.source = source;
    this.trial = undefined;
    if (this.panel === undefined) {
      // The panel asks for its contents once its script runs.
      this.adopt(createPanel(this.extensionUri, kind));
      return;
    }
    this.panel.reveal();
    void this.start();
  }

  /** @param state what the panel kept: its source */
  restore(panel: WebviewPanel, state: unknown): void {
    this.source = isObject(state) ? parsePreviewSource(state.source) : undefined;
    this.adopt(fill(panel, this.extensionUri, kind));
  }

  private adopt(panel: WebviewPanel): void {
    this.panel = panel;
    const listening = panel.webview.onDidReceiveMessage((raw: unknown) => {
      const message = parsePreviewViewMessage(raw);
      if (message !== undefined) void this.receive(message);
    });
    panel.onDidDispose(() => {
      listening.dispose();
      this.dispose();
      if (this.panel === panel) this.panel = undefined;
    });
  }

  private async receive(message: PreviewViewMessage): Promise<void> {
    switch (message.type) {
      case 'ready':
      case 'reload':
        return this.start();
      case 'cancel':
        this.counting?.abort();
        return;
      case 'try':
        this.trial = message.trial;
        return this.start();
      case 'page':
        return this.page(message.offset, message.filter);
      case 'openRow':
        return this.openRow(message.line);
    }
  }

  /** The first page, then the counts. */
  private async start(): Promise<void> {
    const { source } = this;
    if (source === undefined) return;
    this.dispose();
    this.report = undefined;
    await this.post({ type: 'init', source });
    const abort = (this.counting = new AbortController());
    await this.run('count', abort, ['--rows', String(pageSize)], (line) => {
      const event = parsePreviewEvent(line);
      if (event === undefined) return;
      if ('settings' in event) {
        this.settings = event.settings;
        void this.post({ type: 'settings', settings: event.settings });
      } else if ('page' in event) {
        void this.post({ type: 'page', page: event.page, offset: 0 });
      } else {
        this.report = event.report;
        void this.post({ type: 'report', report: event.report });
      }
    });
  }

  private async page(offset: number, filter: RowFlag | undefined): Promise<void> {
    this.paging?.abort();
    const abort = (this.paging = new AbortController());
    const known = filter === undefined ? undefined : (this.report?.flagged[filter] ?? []);
    const indices = known?.slice(offset, offset + pageSize);
    const which =
      indices === undefined
        ? ['--start', String(offset), '--rows', String(pageSize)]
        : ['--index', indices.join(',')];
    if (indices?.length === 0) {
      await this.post({
        type: 'page',
        page: { start: 0, rows: [], more: false },
        offset,
        ...(filter === undefined ? {} : { filter }),
      });
      return;
    }
    await this.run('page', abort, [...which, '--no-counts'], (line) => {
      const event = parsePreviewEvent(line);
      if (event === undefined || !('page' in event)) return;
      const more = known === undefined ? event.page.more : known.length > offset + pageSize;
      void this.post({
        type: 'page',
        page: { ...event.page, more },
        offset,
        ...(filter === undefined ? {} : { filter }),
      });
    });
  }

  /** Runs `dota preview` to its end; lines that come after its cancellation are dropped. */
  private async run(
    task: 'page' | 'count',
    abort: AbortController,
    options: readonly string[],
    onLine: (line: string) => void,
  ): Promise<void> {
    await this.post({ type: 'busy', task, running: true, cancelled: false });
    try {
      await this.trainer.command(['preview', ...this.what(), ...options, '--stream'], {
        signal: abort.signal,
        onLine: (line) => {
          if (!abort.signal.aborted) onLine(line);
        },
      });
    } catch (error) {
      if (!abort.signal.aborted) await this.post({ type: 'error', error: serializeError(error) });
    } finally {
      // A task that another of its kind has replaced says nothing more.
      if (abort === (task === 'page' ? this.paging : this.counting)) {
        const cancelled = abort.signal.aborted;
        await this.post({ type: 'busy', task, running: false, cancelled });
      }
    }
  }

  private what(): string[] {
    const { config, data, model } = this.source ?? {};
    const { trial } = this;
    return [
      ...(config === undefined ? [] : [config]),
      ...(data === undefined ? [] : ['--data', data]),
      ...(model === undefined ? [] : ['--model', model]),
      ...(trial === undefined
        ? []
        : [
            ['--set', `data.template=${trial.template}`],
            ['--set', `data.loss_mask=${trial.lossMask}`],
            ['--set', `data.max_length=${trial.maxLength}`],
          ].flat()),
    ];
  }

  private async openRow(line: number): Promise<void> {
    const file = this.settings?.file;
    if (file === undefined) return;
    try {
      const document = await workspace.openTextDocument(Uri.file(file));
      const place = new Range(line - 1, 0, line - 1, 0);
      await window.showTextDocument(document, { selection: place, preview: true });
    } catch (cause) {
      this.ui.showError(
        new DotaError('file.unreadable', 'The editor cannot show this file as text.', {
          where: file,
          next: 'The preview shows its rows all the same.',
          cause,
        }),
      );
    }
  }

  private async post(message: PreviewHostMessage): Promise<void> {
    await this.panel?.webview.postMessage(message);
  }

  dispose(): void {
    this.counting?.abort();
    this.paging?.abort();
  }
}
