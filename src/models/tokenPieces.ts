/**
 * Tokens as the bytes they stand for, so that a preview can show each one even where a character is
 * spread over several tokens.
 */
import type { CheckedTokenizer } from './tokenizerFile';

/** Byte of each character of GPT-2's printable alphabet. */
export const byteOfCharacter: ReadonlyMap<string, number> = buildByteAlphabet();

function buildByteAlphabet(): Map<string, number> {
  const map = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    map.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return map;
}

/** The other way round, indexed by byte. */
export const characterOfByte: readonly string[] = [...byteOfCharacter]
  .sort(([, a], [, b]) => a - b)
  .map(([character]) => character);

export class TokenPieces {
  private readonly tokenOfId = new Map<number, string>();
  private readonly added = new Set<number>();
  private readonly byteLevel: boolean;

  constructor(checked: CheckedTokenizer) {
    for (const [token, id] of checked.vocabulary) this.tokenOfId.set(id, token);
    for (const { id, content } of checked.addedTokens) {
      this.tokenOfId.set(id, content);
      this.added.add(id);
    }
    this.byteLevel = JSON.stringify(checked.json['decoder'] ?? null).includes('"ByteLevel"');
  }

  /** The bytes that a token adds to the text; added tokens give their name's. */
  bytes(id: number): Uint8Array {
    const token = this.tokenOfId.get(id);
    if (token === undefined) return new Uint8Array(0);
    if (this.added.has(id)) return new TextEncoder().encode(token);
    if (this.byteLevel) {
      return Uint8Array.from(token, (character) => byteOfCharacter.get(character) ?? 0x3f);
    }
    const fallback = /^<0x([0-9A-F]{2})>$/.exec(token);
    if (fallback !== null) return Uint8Array.of(parseInt(fallback[1] as string, 16));
    return new TextEncoder().encode(token.replaceAll('\u2581', ' '));
  }

  /**
   * One string a token. A character whose bytes are spread over several tokens appears at the last
   * of them, the others are empty; bytes that form no character appear as U+FFFD.
   */
  texts(ids: readonly number[]): string[] {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return ids.map((id, i) => decoder.decode(this.bytes(id), { stream: i < ids.length - 1 }));
  }
}
