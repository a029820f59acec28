/** `dota generate`: continues a prompt with a base model, with adapters, or with both side by side. */
import { text as readAll } from 'node:stream/consumers';
import { ExampleEncoder } from '../../data/examples';
import type { Row } from '../../data/readers/row';
import type { TemplateName } from '../../data/templates/template';
import type { Tokenizer } from '../../models/tokenizer';
import { DotaError } from '../../protocol/errors';
import type { GenerateAnswer, GenerateMessage } from '../../protocol/generation';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { enableGarbageCollection } from '../garbageCollection';
import { generate, type Answer, type Strategy } from '../generation/generate';
import { GenerationSession } from '../generation/session';
import type { WeightView } from '../generation/weightView';
import { cutAtStop, streamedText } from '../generation/text';
import { numberOption, positiveOption } from './options';
import { printJson, printLine } from './output';

export interface GenerateCommandOptions {
  root: string;
  checkpoint: string;
  adapter: string[];
  /** `-` reads standard input. */
  prompt: string;
  template: TemplateName | 'raw';
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
  let stopped = false;
  // The first signal ends the answers with what there is; a second one ends the process.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopped = true;
    });
  }
  const session = await GenerationSession.open(what, options);
  try {
    const { tokenizer } = session;
    const ids = encodePrompt(tokenizer, prompt, options.template);
    requireRoom(ids.length + maxNewTokens, session.model.config.maxPositionEmbeddings);
    const sides = await openSides(session, options);
    const started = sides.map(() => performance.now());
    const shown = sides.map(() => '');
    const finished: (GenerateAnswer | undefined)[] = sides.map(() => undefined);
    const streams = sides.map(({ view }) =>
      generate(session.decoder, view, [ids], {
        strategy,
        maxNewTokens,
        eosTokenIds: session.eosTokenIds,
        isComplete: (tokens) => cutAtStop(decode(tokenizer, tokens), options.stop).stopped,
        shouldStop: () => stopped,
      }),
    );
    const live = new LivePrinter(options, sides.length);
    // Taking turns shows both answers as they grow; the weights' scratch allows one at a time.
    while (finished.includes(undefined)) {
      for (const [i, stream] of streams.entries()) {
        if (finished[i] !== undefined) continue;
        const { done, value } = await stream.next();
        const answer = value[0] as Answer;
        const { text, stopped: cut } = cutAtStop(decode(tokenizer, answer.tokens), options.stop);
        const visible = done === true || cut ? text : streamedText(text, options.stop);
        if (visible !== shown[i]) live.text(i, shown[i] as string, visible);
        shown[i] = visible;
        if (done !== true) continue;
        const seconds = (performance.now() - (started[i] as number)) / 1000;
        finished[i] = describe(sides[i] as Side, answer, text, seconds);
        live.end(finished[i], i);
      }
    }
    const result = {
      model: session.model.folder,
      prompt,
      prompt_token_ids: ids,
      answers: finished,
    };
    if (options.json === true || options.stream === true) printJson(result);
    else live.finish(finished as GenerateAnswer[]);
  } finally {
    await session.dispose();
  }
}

interface Side {
  /** null is the base model. */
  adapter: string | null;
  view: WeightView;
}

/** The base alone; with adapters these, and with `--compare` the base before them. */
async function openSides(
  session: GenerationSession,
  { adapter, compare = false }: GenerateCommandOptions,
): Promise<Side[]> {
  const sides: Side[] = [];
  if (adapter.length === 0 || compare) sides.push({ adapter: null, view: session.base });
  for (const what of adapter) {
    sides.push({ adapter: what, view: await session.withAdapter(what) });
  }
  return sides;
}

function describe(side: Side, answer: Answer, text: string, seconds: number): GenerateAnswer {
  const { tokens, finish } = answer;
  return {
    adapter: side.adapter,
    text,
    token_ids: tokens,
    finish,
    seconds,
    tokens_per_second: tokens.length / seconds,
  };
}

function decode(tokenizer: Tokenizer, tokens: readonly number[]): string {
  return tokenizer.decode(tokens, { skipSpecialTokens: true });
}

/** `raw` is the text behind the tokenizer's own prefix; a template asks as training did. */
function encodePrompt(
  tokenizer: Tokenizer,
  prompt: string,
  template: GenerateCommandOptions['template'],
): number[] {
  const place = { file: '--prompt', line: 1 };
  const encoder = new ExampleEncoder(tokenizer, {
    template: template === 'raw' ? 'plain' : template,
    lossMask: 'completion',
    maxLength: Infinity,
    truncation: 'keep_start',
  });
  const ids = encoder.encodePrompt(promptRow(prompt, template), place, 'train');
  if (ids.length > 0) return ids;
  throw new DotaError('usage', 'The prompt is empty, and this tokenizer has no start token.', {
    next: 'Write a prompt.',
  });
}

function promptRow(prompt: string, template: GenerateCommandOptions['template']): Row {
  switch (template) {
    case 'raw':
    case 'plain':
      return { prompt, completion: '' };
    case 'alpaca':
    case 'llm-adapters':
      return { instruction: prompt, input: '', output: '' };
    case 'chat':
      return {
        messages: [
          { role: 'user', content: prompt },
          { role: 'assistant', content: '' },
        ],
      };
  }
}

function requireRoom(wanted: number, room: number): void {
  if (wanted <= room) return;
  throw new DotaError(
    'usage',
    `Prompt and answer may take ${wanted} tokens; the model has positions for ${room}.`,
    { next: 'Shorten the prompt, or lower --max-new-tokens.' },
  );
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
class LivePrinter {
  readonly #messages: boolean;
  readonly #plain: boolean;

  constructor({ stream, json }: GenerateCommandOptions, sides: number) {
    this.#messages = stream === true;
    this.#plain = stream !== true && json !== true && sides === 1;
  }

  text(index: number, before: string, now: string): void {
    if (this.#messages) this.#send({ type: 'text', index, text: now });
    // A beam search may change its mind; text that is printed cannot.
    else if (this.#plain && now.startsWith(before)) process.stdout.write(now.slice(before.length));
  }

  end(answer: GenerateAnswer | undefined, index: number): void {
    if (this.#messages && answer) this.#send({ type: 'answer', index, answer });
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
