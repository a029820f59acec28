/** Shape of the sample model, as a Hugging Face `config.json`. */
import type { SampleTokenizer } from './tokenizerFiles';

/**
 * 4 layers of 4 heads at width 128 and a feed-forward width of 512: 1.13 million parameters with tied
 * embeddings. Every width is a product of small factors, so MPO shapes need no padding.
 */
export function sampleModelConfig(tokenizer: SampleTokenizer, maxLength: number): object {
  return {
    architectures: ['LlamaForCausalLM'],
    attention_bias: false,
    attention_dropout: 0,
    bos_token_id: tokenizer.beginId,
    eos_token_id: tokenizer.endId,
    head_dim: 32,
    hidden_act: 'silu',
    hidden_size: 128,
    // About 1 / sqrt(fan_in): with the usual 0.02 a model this narrow starts too quiet.
    initializer_range: 0.06,
    intermediate_size: 512,
    max_position_embeddings: maxLength,
    mlp_bias: false,
    model_type: 'llama',
    num_attention_heads: 4,
    num_hidden_layers: 4,
    num_key_value_heads: 4,
    pad_token_id: tokenizer.padId,
    rms_norm_eps: 1e-5,
    rope_scaling: null,
    rope_theta: 10000,
    tie_word_embeddings: true,
    torch_dtype: 'bfloat16',
    use_cache: true,
    vocab_size: tokenizer.vocabularySize,
  };
}
