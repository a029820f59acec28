import * as z from 'zod';
import {
  commonKeys,
  decoderWeights,
  sharedConfig,
  unsupported,
  type Architecture,
} from './architecture';

/** Keys of Qwen's optional window, shared with Qwen3. */
export const qwenWindowKeys = {
  use_sliding_window: z.boolean().default(false),
  sliding_window: z.int().min(1).nullish(),
  max_window_layers: z.int().min(0).default(28),
};

const schema = z.object({
  ...commonKeys,
  ...qwenWindowKeys,
  max_position_embeddings: commonKeys.max_position_embeddings.default(32_768),
  rms_norm_eps: commonKeys.rms_norm_eps.default(1e-6),
});

/** Qwen2 and Qwen2.5: Llama with biases on q, k and v. */
export const qwen2: Architecture = {
  modelType: 'qwen2',
  className: 'Qwen2ForCausalLM',
  toConfig(json, where) {
    const raw = schema.parse(json);
    return {
      architecture: 'qwen2',
      ...sharedConfig(raw, where, { numKeyValueHeads: 32 }),
      attentionBias: { qkv: true, o: false },
      mlpBias: false,
      queryKeyNorm: false,
      slidingWindow: qwenWindow(raw, where),
    };
  },
  weights: decoderWeights,
};

/**
 * Qwen slides the window from layer `max_window_layers` on. Published checkpoints switch it off.
 * @returns the window where it holds in every layer
 * @throws DotaError `model.unsupported` where only some layers have it
 */
export function qwenWindow(
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
