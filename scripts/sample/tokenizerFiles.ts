/** The tokenizer of the sample as the files that Hugging Face's libraries read. */
import { splitPattern, trainBpe, type ByteLevelBpe } from './bpe';

export const beginToken = '<|begin_of_text|>';
export const endToken = '<|end_of_text|>';
export const padToken = '<|finetune_right_pad_id|>';
const specialTokens = [beginToken, endToken, padToken] as const;

export interface SampleTokenizer {
  /** File name -> JSON contents. */
  files: Record<string, unknown>;
  vocabularySize: number;
  beginId: number;
  endId: number;
  padId: number;
}

/**
 * @param size tokens in all, the three special ones included
 * @param maxLength longest sequence that the model takes, in tokens
 */
export function makeTokenizer(
  texts: Iterable<string>,
  size: number,
  maxLength: number,
): SampleTokenizer {
  const bpe = trainBpe(texts, size - specialTokens.length);
  const base = bpe.vocabulary.size;
  const [beginId, endId, padId] = [base, base + 1, base + 2];
  return {
    files: {
      'tokenizer.json': tokenizerJson(bpe),
      'tokenizer_config.json': {
        added_tokens_decoder: Object.fromEntries(
          addedTokens(base).map(({ id, ...token }) => [String(id), token]),
        ),
        bos_token: beginToken,
        clean_up_tokenization_spaces: false,
        eos_token: endToken,
        model_input_names: ['input_ids', 'attention_mask'],
        model_max_length: maxLength,
        pad_token: padToken,
        tokenizer_class: 'PreTrainedTokenizerFast',
      },
      'special_tokens_map.json': {
        bos_token: beginToken,
        eos_token: endToken,
        pad_token: padToken,
      },
      'generation_config.json': {
        _from_model_config: true,
        bos_token_id: beginId,
        eos_token_id: endId,
        pad_token_id: padId,
        do_sample: false,
      },
    },
    vocabularySize: base + specialTokens.length,
    beginId,
    endId,
    padId,
  };
}

function addedTokens(base: number) {
  return specialTokens.map((content, i) => ({
    id: base + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
}

/** Llama 3's arrangement: split, bytes, BPE; the begin token is put in front, the end token is not. */
function tokenizerJson(bpe: ByteLevelBpe): unknown {
  const beginId = bpe.vocabulary.size;
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(beginId),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        {
          type: 'Split',
          pattern: { Regex: splitPattern },
          behavior: 'Isolated',
          invert: false,
        },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: beginToken, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
      ],
      pair: [
        { SpecialToken: { id: beginToken, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: beginToken, type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: {
        [beginToken]: { id: beginToken, ids: [beginId], tokens: [beginToken] },
      },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: Object.fromEntries(bpe.vocabulary),
      merges: bpe.merges.map(([left, right]) => [left, right]),
    },
  };
}
