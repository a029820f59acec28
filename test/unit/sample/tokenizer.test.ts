import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { trainBpe } from '../../../scripts/sample/bpe';
import { drawDocuments } from '../../../scripts/sample/pretrainingText';
import { makeArithmetic } from '../../../scripts/sample/arithmetic';
import { Random } from '../../../scripts/sample/random';
import { makeTokenizer } from '../../../scripts/sample/tokenizerFiles';
import { largestNumber } from '../../../scripts/sample/world';

function committed(): Tokenizer {
  const read = (name: string): object =>
    JSON.parse(readFileSync(`media/sample/model/${name}`, 'utf8')) as object;
  return new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
}

describe('the BPE trainer', () => {
  it('merges the most frequent neighbours first, ties in order of the pair', () => {
    // " ab" 3 times, "cd" twice: pairs (Ġ,a) and (a,b) tie at 3, (c,d) has 2; Ġ sorts after a.
    const { merges, vocabulary } = trainBpe(['cd', 'cd', ' ab ab ab'], 1000);
    expect(merges).toEqual([
      ['a', 'b'],
      ['Ġ', 'ab'],
      ['c', 'd'],
    ]);
    expect(vocabulary.size).toBe(256 + 3);
    expect(vocabulary.get('ab')).toBe(256);
  });

  it('stops at the size asked for and never merges what occurs once', () => {
    expect(trainBpe(['aaaa aaaa'], 257).merges).toHaveLength(1);
    expect(trainBpe(['xyz'], 1000).merges).toEqual([]);
  });

  it('keeps words and numbers apart', () => {
    const { merges } = trainBpe(Array<string>(9).fill('a1'), 1000);
    expect(merges).toEqual([]);
  });
});

describe('the sample’s tokenizer', () => {
  const tokenizer = committed();
  const ids = (text: string): number[] => tokenizer.encode(text, { add_special_tokens: false }).ids;

  it('gives back any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }), (text) => {
        expect(tokenizer.decode(ids(text), { skip_special_tokens: false })).toBe(text);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  it('writes each number of the world as one token, wherever it stands', () => {
    for (let number = 0; number <= largestNumber; number += 1) {
      const alone = ids(String(number));
      expect(alone).toHaveLength(1);
      expect(ids(`equals ${String(number)}.`)).toContain(alone[0]);
    }
  });

  it('puts the begin token in front and leaves the end to the trainer', () => {
    const encoded = tokenizer.encode('7 plus 8').ids;
    expect(encoded[0]).toBe(tokenizer.token_to_id('<|begin_of_text|>'));
    expect(encoded.slice(1)).toEqual(ids('7 plus 8'));
  });

  it('agrees with transformers (ids recorded from AutoTokenizer)', () => {
    const { cases } = JSON.parse(readFileSync('test/fixtures/sample/tokenizer.json', 'utf8')) as {
      cases: { text: string; ids: number[] }[];
    };
    expect(cases.length).toBeGreaterThan(10);
    for (const { text, ids: expected } of cases)
      expect(tokenizer.encode(text).ids).toEqual(expected);
  });
});

describe('what the task emits', () => {
  it('occurs in the pretraining text as a target, each token in at least 20 distinct contexts', () => {
    // The adapters leave embeddings frozen, so a token that pretraining never predicted could not be
    // learned. The end token ends every document. A context is the four tokens before.
    const documents = drawDocuments(new Random(0), 4000);
    const { files } = makeTokenizer(documents, 768, 256);
    const tokenizer = new Tokenizer(
      files['tokenizer.json'] as object,
      files['tokenizer_config.json'] as object,
    );
    const encode = (text: string): number[] => tokenizer.encode(text).ids;
    const contexts = new Map<number, Set<string>>();
    for (const document of documents) {
      const tokens = encode(document);
      tokens.forEach((token, t) => {
        const context = tokens.slice(Math.max(0, t - 4), t).join(' ');
        contexts.set(token, (contexts.get(token) ?? new Set()).add(context));
      });
    }
    const items = makeArithmetic(new Random(2), { train: 300, validation: 50, test: 100 });
    const emitted = new Set(
      [...items.train, ...items.test].flatMap(({ output }) => encode(output).slice(1)),
    );
    expect(emitted.size).toBeGreaterThan(largestNumber);
    const rare = [...emitted].filter((token) => (contexts.get(token)?.size ?? 0) < 20);
    expect(rare.map((token) => tokenizer.decode([token]))).toEqual([]);
  });
});
