import * as z from 'zod';
import { commonKeys, decoderWeights, sharedConfig, type Architecture } from './architecture';

const schema = z.object({
  ...commonKeys,
  max_position_embeddings: commonKeys.max_position_embeddings.default(2048),
  rms_norm_eps: commonKeys.rms_norm_eps.default(1e-6),
  bos_token_id: commonKeys.bos_token_id.default(1),
  eos_token_id: commonKeys.eos_token_id.default(2),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
});

/** Llama 2 and 3.x. */
export const llama: Architecture = {
  modelType: 'llama',
  className: 'LlamaForCausalLM',
  toConfig(json, where) {
    const raw = schema.parse(json);
    return {
      architecture: 'llama',
      ...sharedConfig(raw, where),
      attentionBias: { qkv: raw.attention_bias, o: raw.attention_bias },
      mlpBias: raw.mlp_bias,
      queryKeyNorm: false,
      slidingWindow: undefined,
    };
  },
  weights: decoderWeights,
};
