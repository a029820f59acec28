/**
 * Messages on a byte stream: one JSON document a line. Both directions cap the size of a line, so
 * that a peer that never sends a newline cannot exhaust memory.
 */
import { DotaError } from './errors';

/** Control messages are small; metrics travel through the journal, never through the stream. */
export const maxMessageBytes = 1 << 20;

/**
 * One message as a line.
 * @throws DotaError `protocol.invalid` when it is larger than `limit` bytes
 */
export function encodeMessage(message: unknown, limit: number = maxMessageBytes): Uint8Array {
  const bytes = new TextEncoder().encode(`${JSON.stringify(message)}\n`);
  if (bytes.length > limit) {
    throw new DotaError('protocol.invalid', `A message of ${bytes.length} bytes is too large.`, {
      next: `The limit is ${limit} bytes.`,
    });
  }
  return bytes;
}

/** Cuts a byte stream into messages; characters may be split between chunks. */
export class MessageDecoder {
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true });
  readonly #limit: number;
  #pending = '';

  constructor(limit: number = maxMessageBytes) {
    this.#limit = limit;
  }

  /**
   * Takes the next bytes and returns the messages they complete, in order.
   * @throws DotaError `protocol.invalid` on bad UTF-8, bad JSON or an overlong line; the stream is
   *   then out of step and must be closed
   */
  push(chunk: Uint8Array): unknown[] {
    let text: string;
    try {
      text = this.#pending + this.#utf8.decode(chunk, { stream: true });
    } catch (cause) {
      throw new DotaError('protocol.invalid', 'The stream is not valid UTF-8.', { cause });
    }
    const messages: unknown[] = [];
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      this.#checkLength(end - start);
      const line = text.slice(start, end);
      start = end + 1;
      if (line.trim() === '') continue;
      try {
        messages.push(JSON.parse(line));
      } catch (cause) {
        throw new DotaError('protocol.invalid', 'A line of the stream is not JSON.', { cause });
      }
    }
    this.#pending = text.slice(start);
    this.#checkLength(this.#pending.length);
    return messages;
  }

  // Characters, not bytes: a cheap bound within a factor of three, which is all a cap needs.
  #checkLength(length: number): void {
    if (length > this.#limit) {
      throw new DotaError('protocol.invalid', 'A line of the stream is too long.', {
        next: `The limit is ${this.#limit} characters.`,
      });
    }
  }
}
