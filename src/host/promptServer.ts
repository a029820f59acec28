/**
 * The process that answers prompts. It is started with the first question and keeps the model for the
 * next ones; it ends by itself when nobody has asked for a while.
 */
import { DotaError, ExitCode } from '../protocol/errors';
import { isServeMessage, type GenerateMessage, type ServeRequest } from '../protocol/generation';
import type { PromptRequest } from '../protocol/promptPanel';
import type { ServerHandlers, ServerProcess } from './trainerProcess';

export interface PromptQuestion {
  /** A model folder, or a run that stands for its base model. */
  model: string;
  /** Whose answers, null for the base. */
  adapters: readonly (string | null)[];
  request: PromptRequest;
}

interface Pending {
  id: number;
  /** The process has read the question. */
  accepted: boolean;
  onMessage: (message: GenerateMessage) => void;
  /** @param accepted false: to be asked again */
  resolve: (accepted: boolean) => void;
  reject: (error: DotaError) => void;
}

/** After a stop answers end with the next token; where that takes longer, the process is ended. */
const stopAfterMs = 5000;

export class PromptServer {
  private process: Promise<ServerProcess> | undefined;
  private pending: Pending | undefined;
  private lastId = 0;

  /** @param start starts `dota serve-prompts` */
  constructor(private readonly start: (handlers: ServerHandlers) => Promise<ServerProcess>) {}

  /**
   * Asks one question; one at a time.
   * @param signal ends the answers with what there is; the promise then still resolves
   * @throws DotaError what went wrong with the question; `protocol.closed` when the process died
   */
  async ask(
    question: PromptQuestion,
    signal: AbortSignal,
    onMessage: Pending['onMessage'],
  ): Promise<void> {
    if (this.pending !== undefined) {
      throw new DotaError('run.state', 'Another prompt is being answered.', {
        next: 'Stop it first.',
      });
    }
    const accepted = await this.askOnce(question, signal, onMessage);
    // It was about to end, as idle processes do, when the question came.
    if (!accepted) await this.askOnce(question, signal, onMessage);
  }

  /** @returns false where the process ended before it had read the question */
  private async askOnce(
    { model, adapters, request }: PromptQuestion,
    signal: AbortSignal,
    onMessage: Pending['onMessage'],
  ): Promise<boolean> {
    const id = (this.lastId += 1);
    const process = await this.ready();
    let timer: NodeJS.Timeout | undefined;
    const stop = (): void => {
      this.send(process, { type: 'stop', id });
      timer = setTimeout(() => {
        this.dispose();
      }, stopAfterMs);
    };
    try {
      return await new Promise<boolean>((resolve, reject) => {
        this.pending = { id, accepted: false, onMessage, resolve, reject };
        this.send(process, { type: 'question', id, model, adapters, request });
        if (signal.aborted) stop();
        signal.addEventListener('abort', stop, { once: true });
      });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      this.pending = undefined;
    }
  }

  /** Ends the process; the next question starts another one. */
  dispose(): void {
    const process = this.process;
    this.process = undefined;
    process?.then(
      (running) => {
        running.end();
      },
      () => undefined,
    );
    this.fail('The prompt was cancelled.');
  }

  private ready(): Promise<ServerProcess> {
    if (this.process !== undefined) return this.process;
    const process: Promise<ServerProcess> = this.start({
      onLine: (line) => {
        this.receive(line);
      },
      onClose: (reason, exitCode) => {
        if (this.process !== process) return;
        this.process = undefined;
        if (this.pending?.accepted === false && exitCode === ExitCode.done) {
          this.pending.resolve(false);
        } else this.fail(reason);
      },
    });
    this.process = process;
    process.catch(() => {
      if (this.process === process) this.process = undefined;
    });
    return process;
  }

  private send(process: ServerProcess, request: ServeRequest): void {
    process.send(JSON.stringify(request));
  }

  private receive(line: string): void {
    const message = parse(line);
    const { pending } = this;
    if (!isServeMessage(message) || message.id !== pending?.id) return;
    switch (message.type) {
      case 'accepted':
        pending.accepted = true;
        return;
      case 'loaded':
        return;
      case 'text':
      case 'answer':
        pending.onMessage(message);
        return;
      case 'done':
        pending.resolve(true);
        return;
      case 'failed':
        pending.reject(DotaError.from(message.error));
    }
  }

  private fail(reason: string): void {
    this.pending?.reject(
      new DotaError('protocol.closed', reason, { next: 'The log has its last lines.' }),
    );
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}
