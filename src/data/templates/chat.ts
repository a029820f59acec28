/** Conversations: OpenAI `messages` and ShareGPT `conversations` as one list of messages. */
import { field, malformedRow, type Row } from '../readers/row';
import type { ChatMessage, Rendered, RowPlace } from './rendered';

/** ShareGPT's names, and what others write for the same roles. */
const roles: ReadonlyMap<string, ChatMessage['role']> = new Map([
  ['system', 'system'],
  ['developer', 'system'],
  ['user', 'user'],
  ['human', 'user'],
  ['assistant', 'assistant'],
  ['gpt', 'assistant'],
  ['chatgpt', 'assistant'],
  ['bot', 'assistant'],
  ['model', 'assistant'],
  ['function_call', 'assistant'],
  ['tool', 'tool'],
  ['function', 'tool'],
  ['observation', 'tool'],
]);

/** @throws DotaError `data.malformed` */
export function renderChat(row: Row, place: RowPlace): Rendered {
  const messages = field(row, 'messages') ?? field(row, 'conversations');
  if (messages === undefined) {
    throw malformedRow(
      place.file,
      place.line,
      'The row has neither messages nor conversations',
      'Choose another template.',
    );
  }
  return { kind: 'chat', messages: parseMessages(messages, place), tools: field(row, 'tools') };
}

/**
 * @param value a list of `{role, content}` or `{from, value}`
 * @throws DotaError `data.malformed`
 */
export function parseMessages(value: unknown, place: RowPlace): ChatMessage[] {
  if (!Array.isArray(value)) {
    throw malformedRow(place.file, place.line, 'The conversation is not a list');
  }
  return (value as unknown[]).map((item, index) => {
    const fail = (problem: string): Error =>
      malformedRow(place.file, place.line, `Message ${index + 1} ${problem}`);
    if (typeof item !== 'object' || item === null || Array.isArray(item)) {
      throw fail('is not an object');
    }
    const message = item as Row;
    const name = field(message, 'role') ?? field(message, 'from');
    const role = typeof name === 'string' ? roles.get(name.toLowerCase()) : undefined;
    if (role === undefined) {
      throw fail(`has the unknown role ${JSON.stringify(name ?? null).slice(0, 40)}`);
    }
    const content = contentText(field(message, 'content') ?? field(message, 'value'));
    const toolCalls = field(message, 'tool_calls');
    if (content === undefined && toolCalls === undefined) throw fail('has no text');
    return {
      role,
      content: content ?? '',
      ...(toolCalls === undefined || toolCalls === null ? {} : { toolCalls }),
    };
  });
}

/** Content is a string, or OpenAI's list of parts, of which the text parts count. */
function contentText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const texts = (value as unknown[]).map((part) =>
    typeof part === 'object' && part !== null ? field(part as Row, 'text') : part,
  );
  return texts.every((text) => typeof text === 'string') ? texts.join('') : undefined;
}
