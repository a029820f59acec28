/**
 * Conversations to token ids: the template writes the text, special tokens in it are matched, and
 * the assistant's turns are found by rendering the conversation up to each of them.
 */
import { DotaError } from '../protocol/errors';
import type { Tokenizer } from '../models/tokenizer';
import { ChatTemplate } from './templates/chatTemplate';
import type { ChatMessage, Rendered, RowPlace } from './templates/rendered';

type Chat = Extract<Rendered, { kind: 'chat' }>;

export interface EncodedChat {
  inputIds: number[];
  lossMask: number[];
  doubleBos: boolean;
  specialText: number;
  /** A turn's text or ids changed with what follows it, so that its boundary is approximate. */
  promptNotPrefix: boolean;
}

/** Stands inside a special token spelled by a message, so that it is not matched (Private Use). */
const breaker = '\u{10FFFD}';

export class ChatEncoder {
  private template: ChatTemplate | undefined;

  constructor(private readonly tokenizer: Tokenizer) {}

  /** @throws DotaError `template.failed` */
  encode(chat: Chat, lossMask: 'completion' | 'assistant' | 'all', place: RowPlace): EncodedChat {
    const { messages, specialText } = this.breakSpecials(chat.messages);
    const text = this.render(messages, chat.tools, false, place);
    const spans = lossMask === 'all' ? [] : this.spans(messages, chat.tools, lossMask, text, place);
    const inputIds = this.ids(text);
    const mask: number[] = inputIds.map(() => (lossMask === 'all' ? 1 : 0));
    let promptNotPrefix = false;
    for (const span of spans) {
      promptNotPrefix ||= span.approximate;
      const start = this.prefixLength(text.slice(0, span.start), inputIds);
      const end = this.prefixLength(text.slice(0, span.end), inputIds);
      promptNotPrefix ||= start.approximate;
      mask.fill(1, start.length, this.turnEnd(inputIds, start.length, end.length));
    }
    return this.finish(inputIds, mask, specialText, promptNotPrefix);
  }

  /** Ids up to and with the header of the assistant's last turn. */
  prompt(chat: Chat): number[] {
    const { messages } = this.breakSpecials(chat.messages);
    const last = messages.findLastIndex((message) => message.role === 'assistant');
    const before = last === -1 ? messages : messages.slice(0, last);
    const ids = this.ids(this.render(before, chat.tools, true, undefined));
    return this.withPrefix(
      ids,
      ids.map(() => 0),
    ).inputIds;
  }

  private render(
    messages: readonly ChatMessage[],
    tools: unknown,
    addGenerationPrompt: boolean,
    place: RowPlace | undefined,
  ): string {
    const { chatTemplate, settings } = this.tokenizer;
    if (chatTemplate === undefined) {
      throw new DotaError('template.failed', 'The model has no chat template.', {
        where: place === undefined ? undefined : `${place.file}:${place.line}`,
        next: 'Use an instruction-tuned model, or data as prompt and completion.',
      });
    }
    this.template ??= new ChatTemplate(chatTemplate, settings, 'chat_template');
    return this.template.render(messages, { addGenerationPrompt, tools });
  }

  /**
   * Character ranges of the turns to train on. A turn starts where the conversation before it,
   * rendered with the assistant's header, ends, and ends where the conversation with it ends.
   */
  private spans(
    messages: readonly ChatMessage[],
    tools: unknown,
    lossMask: 'completion' | 'assistant',
    text: string,
    place: RowPlace,
  ): { start: number; end: number; approximate: boolean }[] {
    const turns = messages.flatMap((message, i) => (message.role === 'assistant' ? [i] : []));
    const chosen = lossMask === 'assistant' ? turns : turns.slice(-1);
    return chosen.map((turn) => {
      const before = this.render(messages.slice(0, turn), tools, true, place);
      const through =
        turn === messages.length - 1
          ? text
          : this.render(messages.slice(0, turn + 1), tools, false, place);
      const start = commonPrefix(before, text);
      const end = commonPrefix(through, text);
      const approximate = start < before.length || end < through.length;
      // Templates that rewrite earlier turns (dropping their reasoning) leave no safe boundary.
      if (end <= start) return { start, end: start, approximate: true };
      return { start, end, approximate };
    });
  }

  /** Number of leading tokens of `ids` that encode this prefix of the text. */
  private prefixLength(
    prefix: string,
    ids: readonly number[],
  ): { length: number; approximate: boolean } {
    const prefixIds = this.ids(prefix);
    let shared = 0;
    while (shared < prefixIds.length && prefixIds[shared] === ids[shared]) shared++;
    return { length: shared, approximate: shared < prefixIds.length };
  }

  private ids(text: string): number[] {
    if (!text.includes(breaker)) return this.tokenizer.encode(text, { special: 'match' });
    // Around each broken token the text is plain; elsewhere special tokens are matched. The pieces
    // meet inside the spelled token, where a boundary changes nothing but these few tokens.
    return text
      .split(breaker)
      .flatMap((piece) => this.tokenizer.encode(piece, { special: 'match' }));
  }

  /** A message that spells a special token must not end a turn. */
  private breakSpecials(messages: readonly ChatMessage[]): {
    messages: ChatMessage[];
    specialText: number;
  } {
    let specialText = 0;
    const broken = messages.map((message) => {
      const count = this.tokenizer.countSpecialText(message.content);
      if (count === 0) return message;
      specialText += count;
      return { ...message, content: this.tokenizer.breakSpecialText(message.content, breaker) };
    });
    return { messages: broken, specialText };
  }

  private finish(
    inputIds: number[],
    mask: number[],
    specialText: number,
    promptNotPrefix: boolean,
  ): EncodedChat {
    const last = inputIds[this.turnEnd(inputIds, 0, inputIds.length) - 1];
    const ended = last !== undefined && this.tokenizer.isSpecial(last);
    if (!ended && this.tokenizer.eosTokenId !== undefined) {
      inputIds.push(this.tokenizer.eosTokenId);
      mask.push(1);
    }
    return { ...this.withPrefix(inputIds, mask), specialText, promptNotPrefix };
  }

  /** Adds the tokenizer's BOS unless the template wrote it, and drops a second one. */
  private withPrefix(
    ids: readonly number[],
    mask: readonly number[],
  ): { inputIds: number[]; lossMask: number[]; doubleBos: boolean } {
    const { prefixIds, bosTokenId } = this.tokenizer;
    let start = 0;
    while (bosTokenId !== undefined && ids[start] === bosTokenId) start++;
    const own = start > 0 ? [bosTokenId as number] : prefixIds;
    return {
      inputIds: [...own, ...ids.slice(start)],
      lossMask: [...own.map(() => 0), ...mask.slice(start)],
      // One BOS from the template and one from the tokenizer is the usual accident.
      doubleBos: start > 1 || (start === 1 && prefixIds.length > 0),
    };
  }

  /** Templates write a line break after the token that ends a turn; generation has stopped there. */
  private turnEnd(ids: readonly number[], start: number, end: number): number {
    let last = end;
    while (last > start && this.isBlank(ids[last - 1] as number)) last--;
    return last > start && this.tokenizer.isSpecial(ids[last - 1] as number) ? last : end;
  }

  private isBlank(id: number): boolean {
    return (
      !this.tokenizer.isSpecial(id) && this.tokenizer.pieces.texts([id]).join('').trim() === ''
    );
  }
}

function commonPrefix(a: string, b: string): number {
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  return i;
}
