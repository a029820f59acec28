/** The tokenizer of a model folder as the metadata from which llama.cpp builds its own. */
import { familyPatterns, type PatternFamily } from '../../models/splitPatterns';
import { asObject } from '../../models/strictJson';
import type { Tokenizer } from '../../models/tokenizer';
import type { CheckedTokenizer } from '../../models/tokenizerFile';
import { DotaError } from '../../protocol/errors';
import type { GgufValue } from './format';

/** Kinds of tokens as llama.cpp numbers them. */
const tokenType = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

const wordMark = '\u2581';

/**
 * @param vocabSize of the model, whose embedding may have more rows than the tokenizer has ids
 * @param where the tokenizer's file, for messages
 * @throws DotaError `model.unsupported` where llama.cpp would split a text differently
 */
export function tokenizerMetadata(
  checked: CheckedTokenizer,
  tokenizer: Tokenizer,
  vocabSize: number,
  where: string,
): Map<string, GgufValue> {
  const fail = (problem: string): DotaError =>
    new DotaError('model.unsupported', `GGUF cannot hold this tokenizer: ${problem}.`, {
      where,
      next: 'Export the merged model (--to merged) and convert it with llama.cpp’s own script.',
    });
  const model = asObject(checked.json['model']) ?? {};
  const unknown = typeof model['unk_token'] === 'string' ? model['unk_token'] : undefined;
  const own =
    model['byte_fallback'] === true
      ? sentencePiece(checked, model, vocabSize, fail)
      : byteLevel(checked, model, fail);
  const { tokens, types } = tokenList(checked, vocabSize, unknown);
  own.set('tokenizer.ggml.tokens', { type: 'strings', value: tokens });
  own.set('tokenizer.ggml.token_type', { type: 'i32s', value: types });
  const ids = {
    bos: tokenizer.bosTokenId,
    eos: tokenizer.eosTokenId,
    padding: tokenizer.padTokenId,
    unknown: unknown === undefined ? undefined : checked.vocabulary.get(unknown),
  };
  for (const [role, id] of Object.entries(ids)) {
    if (id !== undefined) own.set(`tokenizer.ggml.${role}_token_id`, { type: 'u32', value: id });
  }
  const [first, ...more] = tokenizer.prefixIds;
  if (more.length > 0 || (first !== undefined && first !== tokenizer.bosTokenId)) {
    throw fail('it puts other tokens than BOS before a text');
  }
  own.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: first !== undefined });
  own.set('tokenizer.ggml.add_eos_token', { type: 'bool', value: false });
  if (tokenizer.chatTemplate !== undefined) {
    own.set('tokenizer.chat_template', { type: 'string', value: tokenizer.chatTemplate });
  }
  return own;
}

type Fail = (problem: string) => DotaError;

/** Every id up to the embedding's last row; ids without a token are named and never produced. */
function tokenList(
  checked: CheckedTokenizer,
  vocabSize: number,
  unknown: string | undefined,
): { tokens: string[]; types: number[] } {
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(vocabSize).fill(tokenType.unused);
  for (const [token, id] of checked.vocabulary) {
    tokens[id] = token;
    types[id] = /^<0x[0-9A-F]{2}>$/.test(token) ? tokenType.byte : tokenType.normal;
  }
  for (const { id, content, special } of checked.addedTokens) {
    tokens[id] = content;
    types[id] = special ? tokenType.control : tokenType.userDefined;
  }
  const unknownId = unknown === undefined ? undefined : checked.vocabulary.get(unknown);
  if (unknownId !== undefined) types[unknownId] = tokenType.unknown;
  return { tokens, types };
}

/** Names under which llama.cpp knows the patterns that split a text into words. */
function preTokenizerName(family: PatternFamily, ignoreMerges: boolean): string {
  switch (family) {
    case 'gpt2':
      return 'gpt-2';
    case 'llama3':
      // Both split alike; the first takes a word that is a token as it is, without merging.
      return ignoreMerges ? 'llama-bpe' : 'smaug-bpe';
    case 'qwen2':
      return 'qwen2';
    case 'qwen35':
      return 'qwen35';
    case 'tekken':
      return 'tekken';
    case 'gpt4o':
      return 'gpt-4o';
  }
}

/** GPT-2's scheme: bytes written as characters, merges in order of their rank. */
function byteLevel(
  checked: CheckedTokenizer,
  model: Readonly<Record<string, unknown>>,
  fail: Fail,
): Map<string, GgufValue> {
  const normalizer = asObject(checked.json['normalizer']);
  // llama.cpp does not normalise; NFC leaves nearly all text as it is.
  if (normalizer !== undefined && normalizer['type'] !== 'NFC') {
    throw fail(`its normalizer is ${JSON.stringify(normalizer['type'])}`);
  }
  const family = patternFamily(asObject(checked.json['pre_tokenizer']));
  if (family === undefined) throw fail('llama.cpp has no name for its pre-tokenizer');
  const merges = (model['merges'] as (string | [string, string])[] | undefined) ?? [];
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    [
      'tokenizer.ggml.pre',
      { type: 'string', value: preTokenizerName(family, model['ignore_merges'] === true) },
    ],
    [
      'tokenizer.ggml.merges',
      {
        type: 'strings',
        value: merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
      },
    ],
  ]);
}

/** The family whose pattern is the whole pre-tokenizer, before bytes become characters. */
function patternFamily(
  stage: Readonly<Record<string, unknown>> | undefined,
): PatternFamily | undefined {
  if (stage === undefined) return undefined;
  const stages =
    stage['type'] === 'Sequence'
      ? (stage['pretokenizers'] as unknown[]).map((item) => asObject(item) ?? {})
      : [stage];
  const last = stages.at(-1);
  if (last?.['type'] !== 'ByteLevel' || last['add_prefix_space'] === true) return undefined;
  if (stages.length === 1) return last['use_regex'] === false ? undefined : 'gpt2';
  const [split] = stages;
  if (stages.length !== 2 || split?.['type'] !== 'Split' || split['behavior'] !== 'Isolated') {
    return undefined;
  }
  if (split['invert'] === true || last['use_regex'] !== false) return undefined;
  const regex = asObject(split['pattern'])?.['Regex'];
  const families = Object.keys(familyPatterns) as PatternFamily[];
  return families.find((family) => familyPatterns[family] === regex);
}

/**
 * Llama 2's scheme, a SentencePiece model that was rewritten as merges: llama.cpp wants its scores.
 * It joins the neighbours whose union has the best score, whichever they are. That is what the
 * merges say where every split of a token into two tokens is a merge; then the rank of a token's
 * merges is its score.
 */
function sentencePiece(
  checked: CheckedTokenizer,
  model: Readonly<Record<string, unknown>>,
  vocabSize: number,
  fail: Fail,
): Map<string, GgufValue> {
  for (let byte = 0; byte < 256; byte++) {
    const token = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    if (!checked.vocabulary.has(token)) throw fail(`it has no token ${token}`);
  }
  const scores = new Array<number>(vocabSize).fill(-vocabSize);
  for (const [token, score] of mergeScores(checked, model, fail)) {
    scores[checked.vocabulary.get(token) as number] = score;
  }
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.pre', { type: 'string', value: 'default' }],
    ['tokenizer.ggml.scores', { type: 'f32s', value: scores }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: prependsBlank(checked, fail) }],
    ['tokenizer.ggml.remove_extra_whitespaces', { type: 'bool', value: false }],
  ]);
}

function mergeScores(
  checked: CheckedTokenizer,
  model: Readonly<Record<string, unknown>>,
  fail: Fail,
): Map<string, number> {
  const merges = (model['merges'] as (string | [string, string])[] | undefined) ?? [];
  const pairs = new Set<string>();
  const scores = new Map<string, number>();
  let last = '';
  for (const merge of merges) {
    const [left, right] = (typeof merge === 'string' ? merge.split(' ') : merge) as [
      string,
      string,
    ];
    const token = left + right;
    pairs.add(`${left} ${right}`);
    if (token !== last && scores.has(token)) {
      throw fail(`the merges that make ${JSON.stringify(token)} have different ranks`);
    }
    if (!scores.has(token)) scores.set(token, -scores.size);
    last = token;
  }
  const added = new Set(checked.addedTokens.map(({ content }) => content));
  for (const token of checked.vocabulary.keys()) {
    if (added.has(token) || /^<0x[0-9A-F]{2}>$/.test(token)) continue;
    const characters = [...token];
    for (let i = 1; i < characters.length; i++) {
      const [left, right] = [characters.slice(0, i).join(''), characters.slice(i).join('')];
      const both = checked.vocabulary.has(left) && checked.vocabulary.has(right);
      if (both && !pairs.has(`${left} ${right}`)) {
        throw fail(`${JSON.stringify(token)} can be made in a way that is no merge`);
      }
    }
  }
  return scores;
}

/** Whether a blank is put before a text; the blank itself is written as the word mark. */
function prependsBlank(checked: CheckedTokenizer, fail: Fail): boolean {
  const normalizer = asObject(checked.json['normalizer']);
  const stage = asObject(checked.json['pre_tokenizer']);
  if (stage?.['type'] === 'Metaspace' && normalizer === undefined) {
    return (stage['prepend_scheme'] ?? 'always') !== 'never';
  }
  const steps =
    normalizer?.['type'] === 'Sequence'
      ? (normalizer['normalizers'] as unknown[]).map((item) => asObject(item) ?? {})
      : [normalizer ?? {}];
  const replaces = steps.at(-1);
  const known =
    stage === undefined &&
    replaces?.['type'] === 'Replace' &&
    asObject(replaces['pattern'])?.['String'] === ' ' &&
    replaces['content'] === wordMark;
  if (known && steps.length === 1) return false;
  if (known && steps.length === 2 && steps[0]?.['type'] === 'Prepend') return true;
  throw fail('its normalizer is not Llama’s');
}
