/** `dota generate`: continues a prompt with a base model, with adapters, or with both side by side. */
import { text as readAll } from 'node:stream/consumers';
import { DotaError } from '../../protocol/errors';
import type { GenerateAnswer, GenerateMessage } from '../../protocol/generation';
import type { PromptTemplate } from '../../protocol/promptPanel';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { enableGarbageCollection } from '../garbageCollection';
import { answerQuestion, type AnswerListener } from '../generation/answers';
import type { Strategy } from '../generation/generate';
import { GenerationSession } from '../generation/session';
import { numberOption, positiveOption } from './options';
import { printJson, printLine } from './output';
import { stopOnSignal } from './stopSignal';

export interface GenerateCommandOptions {
  root: string;
  checkpoint: string;
  adapter: string[];
  /** `-` reads standard input. */
  prompt: string;
  template: PromptTemplate;
  maxNewTokens: string;
  greedy?: boolean;
  temperature?: string;
  topK?: string;
  topP?: string;
  seed: string;
  numBeams?: string;
  lengthPenalty?: string;
  stop: string[];
  compare?: boolean;
  device: 'cpu' | 'webgpu';
  stream?: boolean;
  json?: boolean;
}

/** @throws DotaError */
export async function runGenerate(what: string, options: GenerateCommandOptions): Promise<void> {
  const strategy = strategyOf(options);
  const maxNewTokens = positiveOption('--max-new-tokens', options.maxNewTokens) ?? 0;
  await ensureComputeEnvironment();
  enableGarbageCollection();
  const prompt = options.prompt === '-' ? await readAll(process.stdin) : options.prompt;
  // Asked to stop, it ends the answers with what there is.
  const stopped = stopOnSignal();
  const session = await GenerationSession.open(what, { ...options, shouldStop: stopped });
  try {
    // The base alone; with adapters these, and with `--compare` the base before them.
    const { adapter, compare = false } = options;
    const adapters = adapter.length === 0 || compare ? [null, ...adapter] : adapter;
    const live = new LivePrinter(options, adapters.length);
    const { promptIds, answers } = await answerQuestion(
      session,
      { ...options, prompt, strategy, maxNewTokens, adapters },
      stopped,
      live,
    );
    const result = {
      model: session.model.folder,
      prompt,
      prompt_token_ids: promptIds,
      answers,
    };
    if (options.json === true || options.stream === true) printJson(result);
    else live.finish(answers);
  } finally {
    await session.dispose();
  }
}

function strategyOf(options: GenerateCommandOptions): Strategy {
  const temperature = numberOption('--temperature', options.temperature, { low: 0 });
  const topK = numberOption('--top-k', options.topK, { low: 0, whole: true });
  const topP = numberOption('--top-p', options.topP, { low: Number.MIN_VALUE, high: 1 });
  const seed = numberOption('--seed', options.seed, { low: 0, whole: true }) ?? 0;
  const numBeams = numberOption('--num-beams', options.numBeams, { low: 1, high: 64, whole: true });
  const lengthPenalty = numberOption('--length-penalty', options.lengthPenalty, { low: -10 });
  const samples = [temperature, topK, topP].some((value) => value !== undefined);
  const searches = (numBeams ?? 1) > 1;
  if ([options.greedy === true, samples, searches].filter(Boolean).length > 1) {
    throw new DotaError('usage', '--greedy, sampling and --num-beams exclude each other.', {
      next: 'Choose one: --greedy, --temperature with --top-k and --top-p, or --num-beams.',
    });
  }
  if (searches)
    return { kind: 'beams', numBeams: numBeams ?? 1, lengthPenalty: lengthPenalty ?? 1 };
  // A temperature of 0 means greedy, as everywhere.
  if (!samples || temperature === 0) return { kind: 'greedy' };
  return { kind: 'sample', temperature: temperature ?? 1, topK: topK ?? 0, topP: topP ?? 1, seed };
}

/** Shows answers as they grow: messages for the editor, or the text of a single one. */
class LivePrinter implements AnswerListener {
  readonly #messages: boolean;
  readonly #plain: boolean;

  constructor({ stream, json }: GenerateCommandOptions, sides: number) {
    this.#messages = stream === true;
    this.#plain = stream !== true && json !== true && sides === 1;
  }

  onText(index: number, before: string, now: string): void {
    if (this.#messages) this.#send({ type: 'text', index, text: now });
    // A beam search may change its mind; text that is printed cannot.
    else if (this.#plain && now.startsWith(before)) process.stdout.write(now.slice(before.length));
  }

  onAnswer(index: number, answer: GenerateAnswer): void {
    if (this.#messages) this.#send({ type: 'answer', index, answer });
    else if (this.#plain) process.stdout.write('\n');
  }

  /** What was not shown as it grew. */
  finish(answers: readonly GenerateAnswer[]): void {
    for (const { adapter, text, token_ids, seconds, finish } of answers) {
      if (!this.#plain) printLine(`--- ${adapter ?? 'base model'}\n${text}`);
      const rate = (token_ids.length / seconds).toFixed(1);
      process.stderr.write(`${token_ids.length} tokens, ${rate} tokens/s, ended by ${finish}\n`);
    }
  }

  #send(message: GenerateMessage): void {
    printJson(message);
  }
}
