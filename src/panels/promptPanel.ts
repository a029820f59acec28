/** The Try Prompt panel's host side: answers of a model, and of a run beside its base, as they grow. */
import type { Disposable, Memento, Uri, WebviewPanel } from 'vscode';
import { panelTypes } from '../commands/ids';
import type { PromptServer } from '../host/promptServer';
import {
  adaptersOf,
  isPromptTarget,
  sidesOf,
  withoutSide,
  withRun,
  type PromptRun,
  type PromptTarget,
} from '../host/promptTarget';
import type { Ui } from '../host/ui';
import { formatError, serializeError } from '../protocol/errors';
import type { GenerateMessage } from '../protocol/generation';
import { isStringArray } from '../protocol/guards';
import {
  isPromptRequest,
  parsePromptViewMessage,
  type PromptHostMessage,
  type PromptRequest,
  type PromptViewMessage,
} from '../protocol/promptPanel';
import { createPanel, fill, type PanelKind } from './panelHost';

const kind: PanelKind = {
  viewType: panelTypes.prompt,
  title: 'Try Prompt',
  bundle: 'prompt',
};
const historyKey = 'dota.prompt.history';
const settingsKey = 'dota.prompt.settings';
const targetKey = 'dota.prompt.target';
const historyLength = 50;

export class PromptPanel implements Disposable {
  private panel: WebviewPanel | undefined;
  private target: PromptTarget | undefined;
  private abort: AbortController | undefined;

  constructor(
    private readonly extensionUri: Uri,
    private readonly server: PromptServer,
    private readonly memory: Memento,
    private readonly ui: Ui,
    /** Lets the user choose another run. */
    private readonly chooseRun: () => Promise<PromptRun | undefined>,
  ) {}

  open(target: PromptTarget): void {
    this.show(target);
    if (this.panel === undefined) this.adopt(createPanel(this.extensionUri, kind));
    else this.panel.reveal();
  }

  private show(target: PromptTarget): void {
    this.abort?.abort();
    this.target = target;
    void this.memory.update(targetKey, target);
    this.sendInit();
  }

  /** A panel that the editor kept: it asks what it asked before. */
  restore(panel: WebviewPanel): void {
    const saved = this.memory.get<unknown>(targetKey);
    if (this.panel !== undefined || !isPromptTarget(saved)) {
      panel.dispose();
      return;
    }
    this.target = saved;
    this.adopt(fill(panel, this.extensionUri, kind));
  }

  private adopt(panel: WebviewPanel): void {
    this.panel = panel;
    const listening = panel.webview.onDidReceiveMessage((raw: unknown) => {
      const message = parsePromptViewMessage(raw);
      if (message !== undefined) void this.receive(message);
    });
    panel.onDidDispose(() => {
      listening.dispose();
      this.abort?.abort();
      this.panel = undefined;
    });
  }

  private async receive(message: PromptViewMessage): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.sendInit();
        return;
      case 'stop':
        this.abort?.abort();
        return;
      case 'generate':
        try {
          await this.generate(message.request);
        } catch (error) {
          this.ui.showError(error);
        }
        return;
      case 'addRun': {
        const run = await this.chooseRun();
        if (run !== undefined && this.target !== undefined) this.show(withRun(this.target, run));
        return;
      }
      case 'removeSide':
        if (this.target !== undefined) this.show(withoutSide(this.target, message.index));
    }
  }

  private sendInit(): void {
    const { target } = this;
    if (target === undefined) return;
    const saved = this.memory.get<unknown>(settingsKey);
    this.post({
      type: 'init',
      title: target.name,
      sides: sidesOf(target),
      history: this.history(),
      request: isPromptRequest(saved)
        ? saved
        : { prompt: '', template: 'raw', maxNewTokens: 128, temperature: 0 },
    });
  }

  private async generate(request: PromptRequest): Promise<void> {
    const { target } = this;
    if (target === undefined || this.abort !== undefined) return;
    const abort = new AbortController();
    this.abort = abort;
    await this.remember(request);
    this.post({ type: 'running', running: true, history: this.history() });
    try {
      const question = { model: target.model, adapters: adaptersOf(target), request };
      await this.server.ask(question, abort.signal, (message) => {
        // After a switch the index means another answer.
        if (this.target === target) this.showAnswer(message);
      });
    } catch (error) {
      // What was answered until a stop stays on the screen.
      if (!abort.signal.aborted) {
        this.post({ type: 'error', message: formatError(serializeError(error)) });
      }
    } finally {
      this.abort = undefined;
      this.post({ type: 'running', running: false, history: this.history() });
    }
  }

  private showAnswer(message: GenerateMessage): void {
    const { index } = message;
    if (message.type === 'text') {
      this.post({ type: 'text', index, text: message.text, note: '' });
      return;
    }
    const { text, token_ids, seconds, finish } = message.answer;
    const rate = (token_ids.length / Math.max(seconds, 1e-3)).toFixed(1);
    const note = `${token_ids.length} tokens, ${rate} tokens/s, ${endings[finish]}`;
    this.post({ type: 'text', index, text, note });
  }

  private history(): string[] {
    const saved = this.memory.get<unknown>(historyKey);
    return isStringArray(saved) ? saved : [];
  }

  private async remember(request: PromptRequest): Promise<void> {
    const others = this.history().filter((prompt) => prompt !== request.prompt);
    await this.memory.update(historyKey, [request.prompt, ...others].slice(0, historyLength));
    await this.memory.update(settingsKey, request);
  }

  private post(message: PromptHostMessage): void {
    void this.panel?.webview.postMessage(message);
  }

  dispose(): void {
    this.abort?.abort();
    this.server.dispose();
    this.panel?.dispose();
  }
}

const endings = {
  eos: 'ended by the model',
  stop: 'ended at a stop text',
  length: 'ended at the longest length',
  stopped: 'stopped',
} as const;
