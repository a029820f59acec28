/** Text to token ids and back, over `@huggingface/tokenizers`. */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import { fileError, readText, resolveInside } from './files';
import { asObject, parseStrictJson } from './strictJson';
import { rememberByteWords, splitAtWordMarks } from './preTokenizers';
import { TokenPieces } from './tokenPieces';
import { maxTokenizerBytes, parseTokenizerFile, type CheckedTokenizer } from './tokenizerFile';

export const tokenizerFileName = 'tokenizer.json';

/** What `tokenizer_config.json` adds to `tokenizer.json`. */
export interface TokenizerSettings {
  bosToken?: string | undefined;
  eosToken?: string | undefined;
  padToken?: string | undefined;
  /** Jinja source; code from elsewhere, to be rendered in the trainer child only. */
  chatTemplate?: string | undefined;
}

export class Tokenizer {
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  readonly chatTemplate: string | undefined;
  readonly settings: TokenizerSettings;
  /** Largest id plus one; at most the model's `vocabSize`. */
  readonly vocabSize: number;
  /** Ids that the tokenizer itself puts before every text (usually the BOS token or nothing). */
  readonly prefixIds: readonly number[];
  readonly pieces: TokenPieces;
  private readonly specialIds: ReadonlySet<number>;
  private readonly matching: HuggingFaceTokenizer;
  /** Shares the model with `matching`, but takes special tokens in the text for plain text. */
  private readonly literal: HuggingFaceTokenizer;
  private readonly specialContents: readonly string[];

  /**
   * @param checked a parsed `tokenizer.json`
   * @throws DotaError `tokenizer.invalid`
   */
  constructor(checked: CheckedTokenizer, settings: TokenizerSettings, where: string) {
    const { json, addedTokens } = checked;
    try {
      this.matching = new HuggingFaceTokenizer(json, {});
      this.literal = new HuggingFaceTokenizer(
        {
          ...json,
          added_tokens: (json['added_tokens'] as { special?: boolean }[]).filter(
            (token) => token.special !== true,
          ),
          model: { type: 'BPE', vocab: {}, merges: [] },
        },
        {},
      );
      this.literal.model = this.matching.model;
      splitAtWordMarks(checked, [this.matching, this.literal]);
      rememberByteWords(checked, [this.matching, this.literal]);
      this.prefixIds = prefixOf(this.matching);
    } catch (cause) {
      throw new DotaError('tokenizer.invalid', 'The tokenizer cannot be built.', {
        where,
        next: 'Download the tokenizer again.',
        cause,
      });
    }
    this.settings = settings;
    this.vocabSize = checked.idCount;
    this.chatTemplate = settings.chatTemplate;
    this.specialIds = new Set(addedTokens.filter((t) => t.special).map((t) => t.id));
    this.specialContents = addedTokens.filter((t) => t.special).map((t) => t.content);
    this.pieces = new TokenPieces(checked);
    this.bosTokenId = this.idOf(settings.bosToken, where) ?? this.prefixIds[0];
    this.eosTokenId = this.idOf(settings.eosToken, where);
    this.padTokenId = this.idOf(settings.padToken, where);
  }

  /**
   * Token ids of a text, without BOS or EOS.
   * @param options.special `literal` (default): text like `</s>` in user data stays plain text;
   *   `match`: it becomes the special token, as rendered chat templates need
   */
  encode(text: string, options: { special?: 'literal' | 'match' } = {}): number[] {
    const wellFormed = text.replace(/\p{Surrogate}/gu, '\uFFFD');
    if (options.special === 'match') return this.ids(this.matching, wellFormed);
    const ids = this.ids(this.literal, wellFormed);
    // A merge table can spell a special token; breaking its text after the first character cannot.
    return ids.some((id) => this.specialIds.has(id)) ? this.encodeBroken(wellFormed) : ids;
  }

  /** Text of token ids, exactly as encoded: no tidying of blanks. */
  decode(ids: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    if (ids.length === 0) return '';
    return this.matching.decode([...ids], {
      skip_special_tokens: options.skipSpecialTokens ?? false,
      clean_up_tokenization_spaces: false,
    });
  }

  isSpecial(id: number): boolean {
    return this.specialIds.has(id);
  }

  /** How often the text spells a special token, which a tokenizer that matches would take for one. */
  countSpecialText(text: string): number {
    if (!text.includes('<') && !text.includes('[')) {
      // Nearly all special tokens are written <...> or [...]; this keeps the common case cheap.
      if (this.specialContents.every((content) => /[<[]/.test(content))) return 0;
    }
    let count = 0;
    for (const content of this.specialContents) {
      let at = text.indexOf(content);
      while (at !== -1) {
        count++;
        at = text.indexOf(content, at + content.length);
      }
    }
    return count;
  }

  /** Puts `breaker` after the first character of every special token that the text spells. */
  breakSpecialText(text: string, breaker: string): string {
    return this.splitSpecials(text).join(breaker);
  }

  private ids(tokenizer: HuggingFaceTokenizer, text: string): number[] {
    if (text.length === 0) return [];
    const { ids } = tokenizer.encode(text, { add_special_tokens: false });
    if (ids.some((id) => id === undefined)) {
      throw new DotaError('tokenizer.invalid', 'A part of the text has no token.', {
        where: JSON.stringify(text.slice(0, 40)),
        next: 'Use a tokenizer with bytes or an unknown token in its vocabulary.',
      });
    }
    return ids;
  }

  private encodeBroken(text: string): number[] {
    return this.splitSpecials(text).flatMap((part) => this.ids(this.literal, part));
  }

  /** The text in parts that meet after the first character of every special token in it. */
  private splitSpecials(text: string): string[] {
    let parts = [text];
    for (const content of this.specialContents) {
      parts = parts.flatMap((part) => {
        const pieces = part.split(content);
        return pieces.map((piece, i) => {
          const head = i === 0 ? piece : content.slice(1) + piece;
          return i < pieces.length - 1 ? head + content.slice(0, 1) : head;
        });
      });
    }
    return parts;
  }

  private idOf(token: string | undefined, where: string): number | undefined {
    if (token === undefined) return undefined;
    const id = this.matching.token_to_id(token);
    if (id === undefined) {
      throw new DotaError(
        'tokenizer.invalid',
        `tokenizer_config.json names ${JSON.stringify(token.slice(0, 40))}, which has no id.`,
        { where, next: 'Download tokenizer.json and tokenizer_config.json together.' },
      );
    }
    return id;
  }
}

/** What the post-processor puts before the text. */
function prefixOf(tokenizer: HuggingFaceTokenizer): number[] {
  const plain = tokenizer.encode('a', { add_special_tokens: false }).ids;
  const full = tokenizer.encode('a', { add_special_tokens: true }).ids;
  const at = full.findIndex((_, i) => plain.every((id, k) => full[i + k] === id));
  return at <= 0 ? [] : full.slice(0, at);
}

/**
 * Loads the tokenizer of a model folder.
 * @param vocabSize the model's, which must cover every id
 * @throws DotaError `file.missing`, `file.malformed`, `tokenizer.invalid`
 */
export async function loadTokenizer(folder: string, vocabSize?: number): Promise<Tokenizer> {
  const where = path.join(folder, tokenizerFileName);
  const checked = await readTokenizerFile(folder);
  if (vocabSize !== undefined && checked.idCount > vocabSize) {
    throw new DotaError(
      'tokenizer.invalid',
      `The tokenizer has ids up to ${checked.idCount - 1}, the model only ${vocabSize} embeddings.`,
      { where, next: 'Check that tokenizer and model belong together.' },
    );
  }
  return new Tokenizer(checked, await readSettings(folder), where);
}

/** @throws DotaError `file.missing`, `file.malformed`, `tokenizer.invalid` */
export async function readTokenizerFile(folder: string): Promise<CheckedTokenizer> {
  const text = await readText(await resolveInside(folder, tokenizerFileName), maxTokenizerBytes);
  return parseTokenizerFile(text, path.join(folder, tokenizerFileName));
}

async function readSettings(folder: string): Promise<TokenizerSettings> {
  let present: string[];
  try {
    present = await readdir(folder);
  } catch (cause) {
    throw fileError(cause, folder);
  }
  const read = async (name: string): Promise<string | undefined> =>
    present.includes(name)
      ? readText(await resolveInside(folder, name), 4 * 1024 * 1024)
      : undefined;
  const configText = await read('tokenizer_config.json');
  const template = await read('chat_template.jinja');
  if (configText === undefined) return { chatTemplate: template };
  const where = path.join(folder, 'tokenizer_config.json');
  const config = asObject(parseStrictJson(configText, where, { maxDepth: 32, maxKeys: 1_000_000 }));
  return {
    bosToken: tokenText(config?.['bos_token']),
    eosToken: tokenText(config?.['eos_token']),
    padToken: tokenText(config?.['pad_token']),
    chatTemplate: template ?? templateText(config?.['chat_template']),
  };
}

/** A token is written as a string or as `{"content": ...}`. */
function tokenText(value: unknown): string | undefined {
  const text = asObject(value)?.['content'] ?? value;
  return typeof text === 'string' && text !== '' ? text : undefined;
}

/** One template, or a list of named ones of which `default` counts. */
function templateText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = (value as unknown[]).map(asObject);
  const chosen = named.find((entry) => entry?.['name'] === 'default') ?? named[0];
  const text = chosen?.['template'];
  return typeof text === 'string' ? text : undefined;
}
