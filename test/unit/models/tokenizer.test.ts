import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer, Tokenizer, type TokenizerSettings } from '../../../src/models/tokenizer';
import { parseTokenizerFile } from '../../../src/models/tokenizerFile';

const fixtures = path.join(import.meta.dirname, '../../fixtures/tokenizer');

interface Reference {
  strings: string[];
  ids: Record<
    string,
    { match: number[][]; literal: Record<string, number[]>; decoded: string[]; prefix: number[] }
  >;
}

let reference: Reference;
beforeAll(async () => {
  reference = JSON.parse(await readFile(path.join(fixtures, 'ids.json'), 'utf8')) as Reference;
});

async function load(name: string, settings: TokenizerSettings = {}): Promise<Tokenizer> {
  const text = await readFile(path.join(fixtures, `${name}.json`), 'utf8');
  return new Tokenizer(parseTokenizerFile(text, name), settings, name);
}

describe.each(['llama2', 'llama3', 'qwen'])('a tokenizer in the style of %s', (name) => {
  it('gives the ids of the reference, with special tokens matched and taken literally', async () => {
    const tokenizer = await load(name);
    const expected = reference.ids[name]!;
    expect(tokenizer.prefixIds).toEqual(expected.prefix);
    expect(Object.keys(expected.literal).length).toBeGreaterThan(0);
    for (const [i, text] of reference.strings.entries()) {
      const match = expected.match[i]!;
      expect(tokenizer.encode(text, { special: 'match' }), text).toEqual(match);
      expect(tokenizer.encode(text), text).toEqual(expected.literal[i] ?? match);
      expect(tokenizer.decode(match), text).toBe(expected.decoded[i]);
    }
  });

  it('shows each token so that the pieces join to the text', async () => {
    const tokenizer = await load(name);
    for (const text of ['Größe 😀 end', '東京 x', 'plain words']) {
      const pieces = tokenizer.pieces.texts(tokenizer.encode(text));
      expect(pieces.join('').trim()).toBe(text);
    }
  });
});

describe('special tokens in user text', () => {
  it('are counted, and never become special ids unless asked', async () => {
    const tokenizer = await load('llama3', { eosToken: '<|eot_id|>' });
    const text = 'stop <|eot_id|> here <|eot_id|>';
    expect(tokenizer.countSpecialText(text)).toBe(2);
    expect(tokenizer.countSpecialText('a < b')).toBe(0);
    expect(tokenizer.encode(text)).not.toContain(tokenizer.eosTokenId);
    expect(tokenizer.encode(text, { special: 'match' })).toContain(tokenizer.eosTokenId);
  });

  it('stay text even where the merges spell them', () => {
    const vocab: Record<string, number> = {
      '<': 0,
      '/': 1,
      s: 2,
      '>': 3,
      '</': 4,
      '</s': 5,
      '</s>': 6,
      a: 7,
    };
    const json = {
      model: { type: 'BPE', vocab, merges: ['< /', '</ s', '</s >'] },
      decoder: { type: 'Fuse' },
      added_tokens: [{ id: 6, content: '</s>', special: true, normalized: false }],
    };
    const tokenizer = new Tokenizer(parseTokenizerFile(JSON.stringify(json), 't'), {}, 't');
    expect(tokenizer.encode('a</s>a</s>', { special: 'match' })).toEqual([7, 6, 7, 6]);
    const plain = tokenizer.encode('a</s>a</s>');
    expect(plain).not.toContain(6);
    expect(tokenizer.decode(plain)).toBe(tokenizer.decode([7, 6, 7, 6]));
  });
});

describe('a text without blanks to split at', () => {
  it('of 300 KB is encoded in seconds by a tokenizer without pre-tokenizer, ids unchanged', async () => {
    const tokenizer = await load('llama2');
    const sentence = 'The quick brown fox jumps over the lazy dog. ';
    const long = sentence.repeat(7000);
    const started = process.cpuUsage();
    const ids = tokenizer.encode(long);
    // Without the split this takes over 5 s on the slowest machine in use, with it 0.3 s. Time of the
    // processor: others may have the machine meanwhile.
    expect(process.cpuUsage(started).user).toBeLessThan(3_000_000);
    // Every repetition after the first starts with the same word mark.
    const one = tokenizer.encode(sentence.trimEnd());
    expect(ids.slice(0, one.length)).toEqual(one);
    expect(ids.length).toBe(one.length * 7000 + 1);
  });
});

describe('tokenizer.json from elsewhere', () => {
  const base = {
    model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] as unknown[] },
    added_tokens: [] as unknown[],
  };
  const invalid: [string, object, RegExp][] = [
    ['a negative id', { model: { ...base.model, vocab: { a: -1 } } }, /id -1/],
    ['a huge id', { model: { ...base.model, vocab: { a: 1e9 } } }, /id 1000000000/],
    ['a fractional id', { model: { ...base.model, vocab: { a: 0.5 } } }, /id 0.5/],
    ['an id given twice', { model: { ...base.model, vocab: { a: 0, b: 0 } } }, /id 0 is given/],
    ['an empty vocabulary', { model: { ...base.model, vocab: {} } }, /empty/],
    [
      'a merge of one element',
      { model: { ...base.model, merges: ['a'] } },
      /merge 0 is not a pair/,
    ],
    ['a merge of three', { model: { ...base.model, merges: [['a', 'b', 'a']] } }, /not a pair/],
    [
      'a merge of unknown tokens',
      { model: { ...base.model, merges: ['b a'] } },
      /not in the vocab/,
    ],
    [
      'a merge of inherited names',
      { model: { ...base.model, merges: ['constructor a'] } },
      /not in/,
    ],
    ['another model', { model: { type: 'Unigram', vocab: [] } }, /Unigram/],
    ['an added token with a foreign id', { added_tokens: [{ id: 0, content: 'z' }] }, /twice/],
    [
      'an added token with two ids',
      { added_tokens: [{ id: 5, content: 'a' }] },
      /vocabulary gives/,
    ],
    [
      'a pattern with nested quantifiers',
      { pre_tokenizer: { type: 'Split', pattern: { Regex: '(a+)+b' }, behavior: 'Isolated' } },
      /no supported model uses/,
    ],
    [
      'such a pattern deep in a sequence',
      {
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: '(a*)*b' } }] },
          ],
        },
      },
      /no supported model uses/,
    ],
    ['an unknown stage', { normalizer: { type: 'Precompiled' } }, /Precompiled/],
    ['an endless strip', { decoder: { type: 'Strip', content: ' ', start: 1e9 } }, /start/],
  ];
  it.each(invalid)('with %s is refused', (_name, change, message) => {
    const text = JSON.stringify({ ...base, ...change });
    let error: unknown;
    try {
      parseTokenizerFile(text, 'tokenizer.json');
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code: 'tokenizer.invalid', where: 'tokenizer.json' });
    expect((error as Error).message).toMatch(message);
  });

  it('may hold a token named __proto__', () => {
    const text = '{"model":{"type":"BPE","vocab":{"__proto__":0,"a":1},"merges":[]}}';
    const tokenizer = new Tokenizer(parseTokenizerFile(text, 't'), {}, 't');
    expect(tokenizer.encode('a')).toEqual([1]);
    expect(tokenizer.decode([0])).toBe('__proto__');
  });
});

describe('loadTokenizer', () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(path.join(os.tmpdir(), 'dota-tokenizer-'));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  it('reads tokenizer_config.json and the chat template, and checks ids against the model', async () => {
    const folder = path.join(root, 'm');
    await mkdir(folder);
    await writeFile(
      path.join(folder, 'tokenizer.json'),
      await readFile(path.join(fixtures, 'qwen.json')),
    );
    const config = {
      bos_token: null,
      eos_token: { content: '<|im_end|>' },
      pad_token: '<|endoftext|>',
      chat_template: [
        { name: 'tool_use', template: 'x' },
        { name: 'default', template: 'y' },
      ],
    };
    await writeFile(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config));
    const tokenizer = await loadTokenizer(folder, 1000);
    expect(tokenizer.decode([tokenizer.eosTokenId!])).toBe('<|im_end|>');
    expect(tokenizer.bosTokenId).toBeUndefined();
    expect(tokenizer.chatTemplate).toBe('y');
    expect(tokenizer.isSpecial(tokenizer.padTokenId!)).toBe(true);
    await expect(loadTokenizer(folder, tokenizer.vocabSize - 1)).rejects.toMatchObject({
      code: 'tokenizer.invalid',
    });
    await writeFile(path.join(folder, 'tokenizer_config.json'), '{"eos_token":"</none>"}');
    await expect(loadTokenizer(folder)).rejects.toMatchObject({
      message: expect.stringContaining('</none>') as unknown,
    });
  });
});
