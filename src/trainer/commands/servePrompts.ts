/**
 * `dota serve-prompts`: one process that keeps a base model between questions, so that the second one
 * is answered at once and adapters are switched without reading the weights again. It ends when
 * nobody asks any more, and with the pipe of the one who does.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { configFileName } from '../../models/config';
import { indexFileName, singleFileName } from '../../models/safetensors/modelWeights';
import { DotaError, serializeError } from '../../protocol/errors';
import { isServeRequest, type ServeMessage, type ServeRequest } from '../../protocol/generation';
import type { PromptRequest } from '../../protocol/promptPanel';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { enableGarbageCollection } from '../garbageCollection';
import { answerQuestion } from '../generation/answers';
import type { Strategy } from '../generation/generate';
import { findBaseModel, GenerationSession } from '../generation/session';
import { numberOption } from './options';
import { printJson } from './output';

export interface ServePromptsOptions {
  idleSeconds: string;
  checkpoint: string;
  root: string;
  json?: boolean;
}

/** @throws DotaError `usage`; what goes wrong with a question is its answer */
export async function servePrompts(options: ServePromptsOptions): Promise<void> {
  const idleMs =
    1000 * (numberOption('--idle-seconds', options.idleSeconds, { low: 0.1, high: 1e6 }) ?? 300);
  await ensureComputeEnvironment();
  enableGarbageCollection();
  const server = new PromptServer(options);
  const lines = createInterface({ input: process.stdin });
  const end = (): void => {
    lines.close();
  };
  let idle = setTimeout(end, idleMs);
  lines.on('line', (line) => {
    clearTimeout(idle);
    void server.receive(line).then(() => {
      clearTimeout(idle);
      if (!server.busy) idle = setTimeout(end, idleMs);
    });
  });
  await new Promise<void>((resolve) => lines.on('close', resolve));
  clearTimeout(idle);
  await server.close();
  process.stdin.destroy();
}

class PromptServer {
  readonly #options: ServePromptsOptions;
  #session: GenerationSession | undefined;
  /** Of the session's model. */
  #identity = '';
  /** The question that is being answered. */
  #current: { id: number; stopped: boolean; done: Promise<void> } | undefined;

  constructor(options: ServePromptsOptions) {
    this.#options = options;
  }

  get busy(): boolean {
    return this.#current !== undefined;
  }

  /** Resolves when what the line asks is done. */
  async receive(line: string): Promise<void> {
    const request = parse(line);
    if (!isServeRequest(request)) {
      const error = new DotaError('protocol.invalid', 'This line is no request.');
      send({ type: 'failed', id: -1, error: serializeError(error) });
      return;
    }
    if (request.type === 'stop') {
      if (this.#current?.id === request.id) this.#current.stopped = true;
      return;
    }
    if (this.#current !== undefined) {
      const error = new DotaError('run.state', 'Another question is being answered.', {
        next: 'Stop it, or wait for it.',
      });
      send({ type: 'failed', id: request.id, error: serializeError(error) });
      return;
    }
    const current = { id: request.id, stopped: false, done: Promise.resolve() };
    this.#current = current;
    current.done = this.#answer(request).finally(() => {
      this.#current = undefined;
    });
    await current.done;
  }

  async close(): Promise<void> {
    if (this.#current !== undefined) {
      this.#current.stopped = true;
      await this.#current.done;
    }
    await this.#session?.dispose();
  }

  async #answer(question: Extract<ServeRequest, { type: 'question' }>): Promise<void> {
    const { id, adapters, request } = question;
    send({ type: 'accepted', id });
    try {
      const session = await this.#open(question.model, id);
      await answerQuestion(
        session,
        { ...request, strategy: strategyOf(request), stop: [], adapters },
        this.#stopped,
        {
          onText: (index, _before, text) => {
            send({ type: 'text', id, index, text });
          },
          onAnswer: (index, answer) => {
            send({ type: 'answer', id, index, answer });
          },
        },
      );
      send({ type: 'done', id });
    } catch (error) {
      send({ type: 'failed', id, error: serializeError(error) });
    }
  }

  readonly #stopped = (): boolean => this.#current?.stopped === true;

  /** The base model of a question; it is read only where it is another one than before. */
  async #open(model: string, id: number): Promise<GenerationSession> {
    const { root, checkpoint } = this.#options;
    const { folder } = await findBaseModel(model, { root, checkpoint });
    const identity = await identityOf(folder);
    if (this.#session !== undefined && this.#identity === identity) return this.#session;
    const old = this.#session;
    this.#session = undefined;
    await old?.dispose();
    const session = await GenerationSession.open(folder, {
      root,
      checkpoint,
      device: 'cpu',
      shouldStop: this.#stopped,
    });
    this.#session = session;
    this.#identity = identity;
    send({ type: 'loaded', id, model: folder });
    return session;
  }
}

/** Changes when the folder is written again. */
async function identityOf(folder: string): Promise<string> {
  const names = [configFileName, singleFileName, indexFileName];
  const files = await Promise.all(
    names.map((name) => stat(path.join(folder, name)).catch(() => undefined)),
  );
  return JSON.stringify([folder, files.map((info) => [info?.mtimeMs, info?.size, info?.ino])]);
}

function strategyOf({ temperature }: PromptRequest): Strategy {
  if (temperature === 0) return { kind: 'greedy' };
  return { kind: 'sample', temperature, topK: 0, topP: 1, seed: 0 };
}

function send(message: ServeMessage): void {
  printJson(message);
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}
