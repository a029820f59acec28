import * as z from 'zod';
import { commonKeys, decoderWeights, sharedConfig, type Architecture } from './architecture';
import { qwenWindow, qwenWindowKeys } from './qwen2';

const schema = z.object({
  ...commonKeys,
  ...qwenWindowKeys,
  max_position_embeddings: commonKeys.max_position_embeddings.default(32_768),
  rms_norm_eps: commonKeys.rms_norm_eps.default(1e-6),
  attention_bias: z.boolean().default(false),
});

/** Qwen3 (dense): RMSNorm on each head's queries and keys, head_dim 128 unless given. */
export const qwen3: Architecture = {
  modelType: 'qwen3',
  className: 'Qwen3ForCausalLM',
  toConfig(json, where) {
    const raw = schema.parse(json);
    return {
      architecture: 'qwen3',
      ...sharedConfig(raw, where, { numKeyValueHeads: 32, headDim: 128 }),
      attentionBias: { qkv: raw.attention_bias, o: raw.attention_bias },
      mlpBias: false,
      queryKeyNorm: true,
      slidingWindow: qwenWindow(raw, where),
    };
  },
  weights: decoderWeights,
};
