/**
 * Two replacements of the library's pre-tokenizers that give the same pieces in a fraction of the
 * time; the tests hold the ids to the reference's.
 */
import {
  SequencePreTokenizer,
  type PreTokenizer,
  type Tokenizer as HuggingFaceTokenizer,
} from '@huggingface/tokenizers';
import { asObject } from './strictJson';
import { characterOfByte } from './tokenPieces';
import type { CheckedTokenizer } from './tokenizerFile';

/**
 * Tokenizers in the style of Llama 2 have no pre-tokenizer, so a book is one word to the BPE, at a
 * speed of minutes a megabyte. Where no vocabulary entry has the word mark after another character,
 * no merge can cross such a place, and splitting there gives the same ids.
 */
export function splitAtWordMarks(
  checked: CheckedTokenizer,
  tokenizers: readonly HuggingFaceTokenizer[],
): void {
  const stage = asObject(checked.json['pre_tokenizer']);
  const wholeText =
    stage === undefined || (stage['type'] === 'Metaspace' && stage['split'] !== true);
  if (!wholeText) return;
  for (const token of checked.vocabulary.keys()) if (/[^\u2581]\u2581/.test(token)) return;
  for (const tokenizer of tokenizers) {
    const before = tokenizer.pre_tokenizer as ((text: string, options: unknown) => string[]) | null;
    const split = (text: string, options: unknown): string[] =>
      (before === null ? [text] : before(text, options)).flatMap(
        (part) => part.match(/\u2581+[^\u2581]*|[^\u2581]+/g) ?? [],
      );
    // The library calls the stage as a function; its class only makes instances callable.
    tokenizer.pre_tokenizer = split as unknown as PreTokenizer;
  }
}

/** Words whose byte form is remembered, before the memory is emptied. */
const maxWords = 100_000;

/**
 * Llama 3 and Qwen split the text, then write each word's bytes as characters. Words repeat, so the
 * second step is remembered: it takes half of the library's time.
 */
export function rememberByteWords(
  checked: CheckedTokenizer,
  tokenizers: readonly HuggingFaceTokenizer[],
): void {
  const stage = asObject(checked.json['pre_tokenizer']);
  const stages = stage?.['type'] === 'Sequence' ? (stage['pretokenizers'] as unknown[]) : [];
  const last = asObject(stages.at(-1));
  if (last?.['type'] !== 'ByteLevel' || last['use_regex'] !== false) return;
  if (last['add_prefix_space'] === true) return;
  const split = new SequencePreTokenizer({
    type: 'Sequence',
    pretokenizers: stages.slice(0, -1),
  } as unknown as ConstructorParameters<typeof SequencePreTokenizer>[0]) as unknown as (
    text: string,
    options: unknown,
  ) => string[];
  const remembered = new Map<string, string>();
  const encoder = new TextEncoder();
  const byteForm = (word: string): string => {
    const known = remembered.get(word);
    if (known !== undefined) return known;
    let form = '';
    for (const byte of encoder.encode(word)) form += characterOfByte[byte] ?? '';
    if (remembered.size >= maxWords) remembered.clear();
    remembered.set(word, form);
    return form;
  };
  const pieces = (text: string, options: unknown): string[] => split(text, options).map(byteForm);
  for (const tokenizer of tokenizers) tokenizer.pre_tokenizer = pieces as unknown as PreTokenizer;
}
