/**
 * Every supported model family, one description each. This is the one file that another family
 * touches: all else (reading `config.json`, the check of the weights, the graphs, the exports, what is
 * named as supported) follows from its description.
 */
import * as z from 'zod';
import {
  commonKeys,
  decoderWeights,
  sharedConfig,
  unsupported,
  type Architecture,
} from './architecture';

const llamaSchema = z.object({
  ...commonKeys,
  max_position_embeddings: commonKeys.max_position_embeddings.default(2048),
  rms_norm_eps: commonKeys.rms_norm_eps.default(1e-6),
  bos_token_id: commonKeys.bos_token_id.default(1),
  eos_token_id: commonKeys.eos_token_id.default(2),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
});

/** Llama 2 and 3.x. */
const llama: Architecture = {
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  toConfig(json, where) {
    const raw = llamaSchema.parse(json);
    return {
      ...sharedConfig(raw, where),
      attentionBias: { qkv: raw.attention_bias, o: raw.attention_bias },
      mlpBias: raw.mlp_bias,
      queryKeyNorm: false,
      slidingWindow: undefined,
    };
  },
  weights: decoderWeights,
  gguf: { architecture: 'llama', turnsNeighbours: true },
};

const mistralSchema = z.object({
  ...commonKeys,
  max_position_embeddings: commonKeys.max_position_embeddings.default(131_072),
  rms_norm_eps: commonKeys.rms_norm_eps.default(1e-6),
  bos_token_id: commonKeys.bos_token_id.default(1),
  eos_token_id: commonKeys.eos_token_id.default(2),
  // Absent means 4096 in transformers; null means full attention (v0.2 and later).
  sliding_window: z.int().min(1).nullable().default(4096),
});

/** Mistral 7B and its kin: Llama with grouped queries and an attention window. */
const mistral: Architecture = {
  modelType: 'mistral',
  className: 'MistralForCausalLM',
  toConfig(json, where) {
    const raw = mistralSchema.parse(json);
    return {
      ...sharedConfig(raw, where, { numKeyValueHeads: 8 }),
      attentionBias: { qkv: false, o: false },
      mlpBias: false,
      queryKeyNorm: false,
      slidingWindow: raw.sliding_window ?? undefined,
    };
  },
  weights: decoderWeights,
  gguf: { architecture: 'llama', turnsNeighbours: true },
};

/** Keys of Qwen2 and Qwen3; both have an optional window. */
const qwenKeys = {
  ...commonKeys,
  use_sliding_window: z.boolean().default(false),
  sliding_window: z.int().min(1).nullish(),
  max_window_layers: z.int().min(0).default(28),
  max_position_embeddings: commonKeys.max_position_embeddings.default(32_768),
  rms_norm_eps: commonKeys.rms_norm_eps.default(1e-6),
};

const qwen2Schema = z.object(qwenKeys);

/** Qwen2 and Qwen2.5: Llama with biases on q, k and v. */
const qwen2: Architecture = {
  modelType: 'qwen2',
  className: 'Qwen2ForCausalLM',
  toConfig(json, where) {
    const raw = qwen2Schema.parse(json);
    return {
      ...sharedConfig(raw, where, { numKeyValueHeads: 32 }),
      attentionBias: { qkv: true, o: false },
      mlpBias: false,
      queryKeyNorm: false,
      slidingWindow: qwenWindow(raw, where),
    };
  },
  weights: decoderWeights,
  gguf: { architecture: 'qwen2', turnsNeighbours: false },
};

const qwen3Schema = z.object({ ...qwenKeys, attention_bias: z.boolean().default(false) });

/** Qwen3 (dense): RMSNorm on each head's queries and keys, head_dim 128 unless given. */
const qwen3: Architecture = {
  modelType: 'qwen3',
  className: 'Qwen3ForCausalLM',
  toConfig(json, where) {
    const raw = qwen3Schema.parse(json);
    return {
      ...sharedConfig(raw, where, { numKeyValueHeads: 32, headDim: 128 }),
      attentionBias: { qkv: raw.attention_bias, o: raw.attention_bias },
      mlpBias: false,
      queryKeyNorm: true,
      slidingWindow: qwenWindow(raw, where),
    };
  },
  weights: decoderWeights,
  gguf: { architecture: 'qwen3', turnsNeighbours: false },
};

/**
 * Qwen slides the window from layer `max_window_layers` on. Published checkpoints switch it off.
 * @returns the window where it holds in every layer
 * @throws DotaError `model.unsupported` where only some layers have it
 */
function qwenWindow(
  raw: {
    use_sliding_window: boolean;
    sliding_window?: number | null | undefined;
    max_window_layers: number;
    num_hidden_layers: number;
  },
  where: string,
): number | undefined {
  if (!raw.use_sliding_window || raw.max_window_layers >= raw.num_hidden_layers) return undefined;
  if (raw.max_window_layers === 0) return raw.sliding_window ?? 4096;
  throw unsupported(
    `An attention window from layer ${raw.max_window_layers} on only is not supported`,
    'a window in all layers (max_window_layers 0) or in none (use_sliding_window false)',
    where,
  );
}

/** In the order in which messages name them. */
export const architectures: readonly Architecture[] = [llama, mistral, qwen2, qwen3];
