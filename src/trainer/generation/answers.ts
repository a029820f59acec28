/** One prompt answered by a base model and by adapters, side by side, as the answers grow. */
import { ExampleEncoder } from '../../data/examples';
import type { Row } from '../../data/readers/row';
import type { Tokenizer } from '../../models/tokenizer';
import { DotaError } from '../../protocol/errors';
import type { GenerateAnswer } from '../../protocol/generation';
import type { PromptTemplate } from '../../protocol/promptPanel';
import { generate, type Answer, type Strategy } from './generate';
import type { GenerationSession } from './session';
import { cutAtStop, streamedText } from './text';
import type { WeightView } from './weightView';

export interface Question {
  prompt: string;
  template: PromptTemplate;
  maxNewTokens: number;
  strategy: Strategy;
  /** Texts before which an answer ends. */
  stop: readonly string[];
  /** Whose answers, in this order: a run or an adapter folder, null for the base. */
  adapters: readonly (string | null)[];
}

export interface AnswerListener {
  /** @param now the whole text so far */
  onText(index: number, before: string, now: string): void;
  onAnswer(index: number, answer: GenerateAnswer): void;
}

/**
 * @param shouldStop polled between tokens; then the answers end with what there is
 * @throws DotaError `usage` where the prompt is empty or too long; of the adapters
 */
export async function answerQuestion(
  session: GenerationSession,
  question: Question,
  shouldStop: () => boolean,
  listener: AnswerListener,
): Promise<{ promptIds: number[]; answers: GenerateAnswer[] }> {
  const { tokenizer } = session;
  const { maxNewTokens, stop, strategy } = question;
  const ids = encodePrompt(tokenizer, question.prompt, question.template);
  requireRoom(ids.length + maxNewTokens, session.model.config.maxPositionEmbeddings);
  const views: WeightView[] = [];
  for (const adapter of question.adapters) {
    views.push(adapter === null ? session.base : await session.withAdapter(adapter));
  }
  const streams = views.map((view) =>
    generate(session.decoder, view, [ids], {
      strategy,
      maxNewTokens,
      eosTokenIds: session.eosTokenIds,
      isComplete: (tokens) => cutAtStop(decode(tokenizer, tokens), stop).stopped,
      shouldStop,
    }),
  );
  const started = views.map(() => performance.now());
  const shown = views.map(() => '');
  const answers: (GenerateAnswer | undefined)[] = views.map(() => undefined);
  const latest = views.map((): Answer => ({ tokens: [], finish: 'stopped' }));
  // Taking turns shows all answers as they grow; the weights' scratch allows one at a time.
  while (answers.includes(undefined)) {
    for (const [i, stream] of streams.entries()) {
      if (answers[i] !== undefined) continue;
      const { done, answer } = await nextOf(stream, latest[i] as Answer);
      latest[i] = answer;
      const { text, stopped: cut } = cutAtStop(decode(tokenizer, answer.tokens), stop);
      const visible = done || cut ? text : streamedText(text, stop);
      if (visible !== shown[i]) listener.onText(i, shown[i] as string, visible);
      shown[i] = visible;
      if (!done) continue;
      const seconds = (performance.now() - (started[i] as number)) / 1000;
      const described: GenerateAnswer = {
        adapter: question.adapters[i] ?? null,
        text,
        token_ids: answer.tokens,
        finish: answer.finish,
        seconds,
        tokens_per_second: answer.tokens.length / seconds,
      };
      answers[i] = described;
      listener.onAnswer(i, described);
    }
  }
  return { promptIds: ids, answers: answers as GenerateAnswer[] };
}

/** The next state of an answer; one that is stopped inside of a token keeps what it had. */
async function nextOf(
  stream: AsyncGenerator<readonly Answer[], Answer[]>,
  latest: Answer,
): Promise<{ done: boolean; answer: Answer }> {
  try {
    const { done, value } = await stream.next();
    return { done: done === true, answer: value[0] as Answer };
  } catch (error) {
    if (!(error instanceof DotaError) || error.code !== 'run.stopped') throw error;
    return { done: true, answer: { tokens: latest.tokens, finish: 'stopped' } };
  }
}

function decode(tokenizer: Tokenizer, tokens: readonly number[]): string {
  return tokenizer.decode(tokens, { skipSpecialTokens: true });
}

/** `raw` is the text behind the tokenizer's own prefix; a template asks as training did. */
function encodePrompt(tokenizer: Tokenizer, prompt: string, template: PromptTemplate): number[] {
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

function promptRow(prompt: string, template: PromptTemplate): Row {
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
