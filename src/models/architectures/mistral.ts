import * as z from 'zod';
import { commonKeys, decoderWeights, sharedConfig, type Architecture } from './architecture';

const schema = z.object({
  ...commonKeys,
  max_position_embeddings: commonKeys.max_position_embeddings.default(131_072),
  rms_norm_eps: commonKeys.rms_norm_eps.default(1e-6),
  bos_token_id: commonKeys.bos_token_id.default(1),
  eos_token_id: commonKeys.eos_token_id.default(2),
  // Absent means 4096 in transformers; null means full attention (v0.2 and later).
  sliding_window: z.int().min(1).nullable().default(4096),
});

/** Mistral 7B and its kin: Llama with grouped queries and an attention window. */
export const mistral: Architecture = {
  modelType: 'mistral',
  className: 'MistralForCausalLM',
  toConfig(json, where) {
    const raw = schema.parse(json);
    return {
      architecture: 'mistral',
      ...sharedConfig(raw, where, { numKeyValueHeads: 8 }),
      attentionBias: { qkv: false, o: false },
      mlpBias: false,
      queryKeyNorm: false,
      slidingWindow: raw.sliding_window ?? undefined,
    };
  },
  weights: decoderWeights,
};
