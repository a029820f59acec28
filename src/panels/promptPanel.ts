/** The Try Prompt panel's host side: answers of a model, and of a run beside its base, as they grow. */
import type { Disposable, Memento, Uri, WebviewPanel } from 'vscode';
import { panelTypes } from '../commands/ids';
import { errorIn } from '../host/trainerProcess';
import type { Trainer } from '../host/trainer';
import type { Ui } from '../host/ui';
import { formatError, serializeError } from '../protocol/errors';
import { isGenerateMessage } from '../protocol/generation';
import { isObject, isOptional, isString, isStringArray } from '../protocol/guards';
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

/** What is asked. */
export interface PromptTarget {
  name: string;
  /** A model folder, or a run that stands for its base model. */
  model: string;
  /** The run whose adapter answers beside the base. */
  run?: string;
}

export class PromptPanel implements Disposable {
  private panel: WebviewPanel | undefined;
  private target: PromptTarget | undefined;
  private abort: AbortController | undefined;

  constructor(
    private readonly extensionUri: Uri,
    private readonly trainer: Trainer,
    private readonly memory: Memento,
    private readonly ui: Ui,
  ) {}

  open(target: PromptTarget): void {
    this.abort?.abort();
    this.target = target;
    void this.memory.update(targetKey, target);
    if (this.panel !== undefined) {
      this.panel.reveal();
      this.sendInit();
      return;
    }
    this.adopt(createPanel(this.extensionUri, kind));
  }

  /** A panel that the editor kept: it asks what it asked before. */
  restore(panel: WebviewPanel): void {
    const saved = this.memory.get<unknown>(targetKey);
    if (this.panel !== undefined || !isTarget(saved)) {
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
    }
  }

  private sendInit(): void {
    const { target } = this;
    if (target === undefined) return;
    const saved = this.memory.get<unknown>(settingsKey);
    this.post({
      type: 'init',
      title: target.name,
      sides: target.run === undefined ? [target.name] : ['Base model', target.name],
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
      await this.trainer.command(argumentsOf(target, request), {
        signal: abort.signal,
        onLine: (line) => {
          this.show(line);
        },
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

  private show(line: string): void {
    const message = parse(line);
    if (errorIn(message) !== undefined || !isGenerateMessage(message)) return;
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
    this.panel?.dispose();
  }
}

const endings = {
  eos: 'ended by the model',
  stop: 'ended at a stop text',
  length: 'ended at the longest length',
  stopped: 'stopped',
} as const;

/** The command line of one request. */
export function argumentsOf(
  { model, run }: PromptTarget,
  { prompt, template, maxNewTokens, temperature }: PromptRequest,
): string[] {
  return [
    ...['generate', model, `--prompt=${prompt}`, '--template', template],
    ...['--max-new-tokens', String(maxNewTokens), '--stream'],
    ...(temperature > 0 ? ['--temperature', String(temperature)] : ['--greedy']),
    ...(run === undefined ? [] : ['--adapter', run, '--compare']),
  ];
}

function isTarget(value: unknown): value is PromptTarget {
  return (
    isObject(value) &&
    isString(value.name) &&
    isString(value.model) &&
    isOptional(isString, value.run)
  );
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}
