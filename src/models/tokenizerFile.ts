/**
 * `tokenizer.json` from elsewhere, checked before the tokenizer library sees it: the library trusts
 * ids and merges, and compiles the file's regular expressions natively, where one pattern with
 * nested quantifiers blocks the process for minutes.
 */
import { DotaError } from '../protocol/errors';
import { knownPatterns } from './splitPatterns';
import { asObject, parseStrictJson } from './strictJson';

export const maxTokenizerBytes = 64 * 1024 * 1024;
const maxId = 1_000_000;
const maxTokenLength = 4096;

/** A token that is matched in the text before anything else. */
export interface AddedTokenEntry {
  id: number;
  content: string;
  special: boolean;
}

export interface CheckedTokenizer {
  /** The parsed file, as the tokenizer library takes it. */
  json: Readonly<Record<string, unknown>>;
  vocabulary: ReadonlyMap<string, number>;
  addedTokens: readonly AddedTokenEntry[];
  /** Largest id plus one. */
  idCount: number;
}

/**
 * Parses and checks a tokenizer.
 * @param where file name for messages
 * @throws DotaError `file.malformed` (JSON), `tokenizer.invalid`
 */
export function parseTokenizerFile(text: string, where: string): CheckedTokenizer {
  const fail = failure(where);
  const json = asObject(parseStrictJson(text, where, { maxDepth: 32, maxKeys: maxId + 100_000 }));
  const model = asObject(json?.['model']);
  if (json === undefined || model === undefined) throw fail('it has no model');
  // The type is absent in files of old versions, which were all BPE where merges are given.
  if ((model['type'] ?? (Array.isArray(model['merges']) ? 'BPE' : undefined)) !== 'BPE') {
    throw fail(
      `its model type is ${JSON.stringify(model['type'] ?? null).slice(0, 40)}`,
      'Supported: BPE (as in Llama, Mistral and Qwen).',
    );
  }
  for (const suffix of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    const value = model[suffix];
    if (value !== undefined && value !== null && value !== '') throw fail(`it uses ${suffix}`);
  }
  const vocabulary = parseVocabulary(model['vocab'], fail);
  checkMerges(model['merges'], vocabulary, fail);
  const addedTokens = parseAddedTokens(json['added_tokens'] ?? [], vocabulary, fail);
  checkStages(json, fail);
  let idCount = 0;
  for (const id of vocabulary.values()) idCount = Math.max(idCount, id + 1);
  for (const { id } of addedTokens) idCount = Math.max(idCount, id + 1);
  // The library expects these keys to exist, and the type to be written.
  const complete = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...json,
    added_tokens: json['added_tokens'] ?? [],
    model: { ...model, type: 'BPE', merges: model['merges'] ?? [] },
  };
  return { json: complete, vocabulary, addedTokens, idCount };
}

type Fail = (problem: string, next?: string) => DotaError;

function failure(where: string): Fail {
  return (problem, next = 'Download the tokenizer again.') =>
    new DotaError('tokenizer.invalid', `The tokenizer cannot be used: ${problem}.`, {
      where,
      next,
    });
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < maxId;
}

function parseVocabulary(value: unknown, fail: Fail): ReadonlyMap<string, number> {
  const object = asObject(value);
  if (object === undefined) throw fail('its vocabulary is not an object');
  const vocabulary = new Map<string, number>();
  const seen = new Set<number>();
  for (const [token, id] of Object.entries(object)) {
    const shown = JSON.stringify(token.slice(0, 40));
    if (!isId(id)) throw fail(`token ${shown} has the id ${JSON.stringify(id).slice(0, 40)}`);
    if (seen.has(id)) throw fail(`the id ${id} is given to ${shown} and to another token`);
    if (token.length > maxTokenLength) throw fail(`token ${shown}... is too long`);
    seen.add(id);
    vocabulary.set(token, id);
  }
  if (vocabulary.size === 0) throw fail('its vocabulary is empty');
  return vocabulary;
}

/** Both forms of merges: `["a b"]` and, since tokenizers 0.20, `[["a", "b"]]`. */
function checkMerges(value: unknown, vocabulary: ReadonlyMap<string, number>, fail: Fail): void {
  if (value === undefined || value === null) return;
  if (!Array.isArray(value)) throw fail('its merges are not a list');
  if (value.length > 2 * maxId) throw fail(`it has ${value.length} merges`);
  const pairs = Array.isArray(value[0]);
  for (const [index, merge] of (value as unknown[]).entries()) {
    const parts: unknown = pairs ? merge : typeof merge === 'string' ? merge.split(' ') : undefined;
    if (!Array.isArray(parts) || parts.length !== 2) throw fail(`merge ${index} is not a pair`);
    const [left, right] = parts as unknown[];
    if (
      typeof left !== 'string' ||
      typeof right !== 'string' ||
      !vocabulary.has(left) ||
      !vocabulary.has(right) ||
      !vocabulary.has(left + right)
    ) {
      throw fail(`merge ${index} uses tokens that are not in the vocabulary`);
    }
  }
}

function parseAddedTokens(
  value: unknown,
  vocabulary: ReadonlyMap<string, number>,
  fail: Fail,
): AddedTokenEntry[] {
  if (!Array.isArray(value)) throw fail('its added_tokens are not a list');
  if (value.length > 100_000) throw fail(`it has ${value.length} added tokens`);
  const byId = new Map<number, string>();
  for (const [token, id] of vocabulary) byId.set(id, token);
  const contents = new Set<string>();
  return (value as unknown[]).map((item, index) => {
    const entry = asObject(item);
    const id = entry?.['id'];
    const content = entry?.['content'];
    if (!isId(id) || typeof content !== 'string' || content === '') {
      throw fail(`added token ${index} has no valid id and content`);
    }
    const shown = JSON.stringify(content.slice(0, 40));
    if (content.length > maxTokenLength) throw fail(`added token ${shown}... is too long`);
    const inVocabulary = vocabulary.get(content);
    if (inVocabulary !== undefined && inVocabulary !== id) {
      throw fail(`added token ${shown} has id ${id}, the vocabulary gives it ${inVocabulary}`);
    }
    if ((byId.get(id) ?? content) !== content || contents.has(content)) {
      throw fail(`the added token ${shown} or its id ${id} is given twice`);
    }
    byId.set(id, content);
    contents.add(content);
    return { id, content, special: entry?.['special'] === true };
  });
}

const stageTypes = {
  normalizer: [
    'Sequence',
    'Prepend',
    'Replace',
    'NFC',
    'NFD',
    'NFKC',
    'NFKD',
    'Lowercase',
    'Strip',
  ],
  pre_tokenizer: [
    'Sequence',
    'ByteLevel',
    'Metaspace',
    'Split',
    'Digits',
    'Punctuation',
    'Whitespace',
    'WhitespaceSplit',
  ],
  decoder: ['Sequence', 'ByteLevel', 'Metaspace', 'Replace', 'ByteFallback', 'Fuse', 'Strip'],
  post_processor: ['Sequence', 'TemplateProcessing', 'ByteLevel'],
} as const;
const listKeys = ['normalizers', 'pretokenizers', 'decoders', 'processors'] as const;

/** Every stage is of a known type, and every pattern in it is a known one or a plain string. */
function checkStages(json: Readonly<Record<string, unknown>>, fail: Fail): void {
  for (const [key, types] of Object.entries(stageTypes)) checkStage(key, json[key], types, fail);
}

function checkStage(key: string, value: unknown, types: readonly string[], fail: Fail): void {
  if (value === undefined || value === null) return;
  const stage = asObject(value);
  const type = stage?.['type'];
  if (stage === undefined || typeof type !== 'string' || !types.includes(type)) {
    const shown = JSON.stringify(type ?? null).slice(0, 40);
    throw fail(`its ${key} has the type ${shown}`, `Supported: ${types.join(', ')}.`);
  }
  for (const listKey of listKeys) {
    const list = stage[listKey];
    if (list === undefined) continue;
    if (!Array.isArray(list) || list.length > 64) throw fail(`its ${key} is not a valid sequence`);
    for (const item of list as unknown[]) checkStage(key, item, types, fail);
  }
  if (type === 'Split' || type === 'Replace') checkPattern(key, asObject(stage['pattern']), fail);
  if (type === 'TemplateProcessing') checkTemplate(stage['single'], fail);
  for (const text of ['prepend', 'content', 'replacement'] as const) {
    const given = stage[text];
    if (given !== undefined && (typeof given !== 'string' || given.length > 64)) {
      throw fail(`its ${key} has an invalid ${text}`);
    }
  }
  for (const count of ['start', 'stop'] as const) {
    const given = stage[count];
    if (given !== undefined && !(isId(given) && given <= 1024)) {
      throw fail(`its ${key} has an invalid ${count}`);
    }
  }
}

function checkPattern(
  key: string,
  pattern: Readonly<Record<string, unknown>> | undefined,
  fail: Fail,
): void {
  const { String: plain, Regex: regex } = pattern ?? {};
  if (typeof plain === 'string' && plain.length > 0 && plain.length <= 64) return;
  if (typeof regex === 'string' && knownPatterns.has(regex)) return;
  throw fail(
    `its ${key} has a pattern that no supported model uses: ${JSON.stringify(regex ?? plain ?? null).slice(0, 120)}`,
    'An unknown regular expression can block the program, so only known ones are run.',
  );
}

function checkTemplate(single: unknown, fail: Fail): void {
  const valid =
    Array.isArray(single) &&
    single.length <= 64 &&
    (single as unknown[]).every((item) => {
      const entry = asObject(item);
      const special = asObject(entry?.['SpecialToken']);
      const sequence = asObject(entry?.['Sequence']);
      return typeof special?.['id'] === 'string' || typeof sequence?.['id'] === 'string';
    });
  if (!valid) throw fail('its post_processor template is invalid');
}
