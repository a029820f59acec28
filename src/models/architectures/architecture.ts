/**
 * What one model family is, declaratively: how its `config.json` maps to `DecoderConfig`, which weights
 * a checkpoint holds and what llama.cpp calls it. The families stand in `descriptions.ts`.
 */
import * as z from 'zod';
import { DotaError } from '../../protocol/errors';
import type { DecoderConfig } from '../modelConfig';

export interface Architecture {
  /** `model_type` of config.json. */
  modelType: string;
  /** The causal-LM class that `architectures` may name. */
  className: string;
  /**
   * @param raw the parsed config.json
   * @param where file name for messages
   * @throws DotaError `model.unsupported` where an option is not implemented; ZodError otherwise
   */
  toConfig(raw: unknown, where: string): Omit<DecoderConfig, 'architecture'>;
  /** Tensor name to shape of every weight that the checkpoint must hold. */
  weights(config: DecoderConfig): ReadonlyMap<string, readonly number[]>;
  gguf: {
    /** llama.cpp's name of the architecture whose graph computes this family. */
    architecture: string;
    /**
     * Whether that graph's RoPE turns neighbouring entries of a head together, where transformers turns
     * entry i with entry i + head_dim / 2.
     */
    turnsNeighbours: boolean;
  };
}

const size = (max: number): z.ZodInt => z.int().min(1).max(max);
const tokenId = z.int().min(0).max(1_000_000);

/** Keys that all families share, with the ranges that a sane file stays within. */
export const commonKeys = {
  hidden_size: size(65_536),
  intermediate_size: size(262_144),
  num_hidden_layers: size(512),
  num_attention_heads: size(1024),
  num_key_value_heads: size(1024).nullish(),
  head_dim: size(4096).nullish(),
  vocab_size: size(1_000_000),
  max_position_embeddings: size(100_000_000),
  rms_norm_eps: z.number().positive().max(1),
  hidden_act: z.string().default('silu'),
  initializer_range: z.number().positive().max(10).default(0.02),
  tie_word_embeddings: z.boolean().default(false),
  rope_theta: z.number().positive().optional(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  // transformers 5 writes theta and scaling here.
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId).max(64)]).nullish(),
  pad_token_id: z.int().min(-1).max(1_000_000).nullish(),
};
export type CommonConfig = z.infer<z.ZodObject<typeof commonKeys>>;

/** Values that transformers fills in where config.json leaves a key out. */
export interface FamilyDefaults {
  headDim?: number;
  numKeyValueHeads?: number;
}

type Shared = Omit<
  DecoderConfig,
  'architecture' | 'attentionBias' | 'mlpBias' | 'queryKeyNorm' | 'slidingWindow'
>;

/**
 * Maps the shared keys.
 * @throws DotaError `model.unsupported`, `model.shape`
 */
export function sharedConfig(
  raw: CommonConfig,
  where: string,
  defaults: FamilyDefaults = {},
): Shared {
  if (raw.hidden_act !== 'silu' && raw.hidden_act !== 'swish') {
    throw unsupported(`The activation ${raw.hidden_act} is not supported`, 'silu', where);
  }
  const numHeads = raw.num_attention_heads;
  const numKeyValueHeads = raw.num_key_value_heads ?? defaults.numKeyValueHeads ?? numHeads;
  const headDim = raw.head_dim ?? defaults.headDim ?? raw.hidden_size / numHeads;
  if (!Number.isInteger(headDim)) {
    throw inconsistent(
      `hidden_size ${raw.hidden_size} is not divisible by ${numHeads} heads`,
      where,
    );
  }
  if (numHeads % numKeyValueHeads !== 0) {
    throw inconsistent(
      `${numHeads} heads cannot share ${numKeyValueHeads} key and value heads`,
      where,
    );
  }
  if (headDim % 2 !== 0) throw inconsistent(`RoPE needs an even head_dim, not ${headDim}`, where);
  const rope = { ...raw.rope_parameters, ...raw.rope_scaling };
  const theta = z.number().positive().max(1e15).optional().parse(rope['rope_theta']);
  return {
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    numLayers: raw.num_hidden_layers,
    numHeads,
    numKeyValueHeads,
    headDim,
    vocabSize: raw.vocab_size,
    maxPositionEmbeddings: raw.max_position_embeddings,
    rmsNormEps: raw.rms_norm_eps,
    ropeTheta: theta ?? raw.rope_theta ?? 10_000,
    ropeScaling: ropeScaling(rope, where),
    tieWordEmbeddings: raw.tie_word_embeddings,
    initializerRange: raw.initializer_range,
    bosTokenId: raw.bos_token_id ?? undefined,
    eosTokenIds:
      raw.eos_token_id === null || raw.eos_token_id === undefined ? [] : [raw.eos_token_id].flat(),
    padTokenId: raw.pad_token_id === -1 ? undefined : (raw.pad_token_id ?? undefined),
  };
}

const llama3Scaling = z.object({
  factor: z.number().min(1),
  low_freq_factor: z.number().positive(),
  high_freq_factor: z.number().positive(),
  original_max_position_embeddings: z.int().min(1),
});

function ropeScaling(
  rope: Readonly<Record<string, unknown>>,
  where: string,
): DecoderConfig['ropeScaling'] {
  const type = rope['rope_type'] ?? rope['type'] ?? 'default';
  switch (type) {
    case 'default':
      return undefined;
    case 'linear':
      return { type: 'linear', factor: z.object({ factor: z.number().min(1) }).parse(rope).factor };
    case 'llama3': {
      const scaling = llama3Scaling.parse(rope);
      return {
        type: 'llama3',
        factor: scaling.factor,
        lowFreqFactor: scaling.low_freq_factor,
        highFreqFactor: scaling.high_freq_factor,
        originalMaxPositionEmbeddings: scaling.original_max_position_embeddings,
      };
    }
    default:
      throw unsupported(
        `RoPE scaling ${JSON.stringify(type).slice(0, 40)} is not supported`,
        'default, linear, llama3',
        where,
      );
  }
}

export function unsupported(problem: string, supported: string, where: string): DotaError {
  return new DotaError('model.unsupported', `${problem}.`, {
    where,
    next: `Supported: ${supported}.`,
  });
}

function inconsistent(problem: string, where: string): DotaError {
  return new DotaError('model.shape', `${problem}.`, {
    where,
    next: 'Correct config.json, or download it again.',
  });
}

/** Weight names and shapes (`[out_features, in_features]`) of a Llama-style decoder. */
export function decoderWeights(config: DecoderConfig): ReadonlyMap<string, readonly number[]> {
  const { hiddenSize, intermediateSize, headDim } = config;
  const queries = config.numHeads * headDim;
  const keys = config.numKeyValueHeads * headDim;
  const weights = new Map<string, readonly number[]>();
  const linear = (name: string, rows: number, cols: number, bias: boolean): void => {
    weights.set(`${name}.weight`, [rows, cols]);
    if (bias) weights.set(`${name}.bias`, [rows]);
  };
  weights.set('model.embed_tokens.weight', [config.vocabSize, hiddenSize]);
  for (let layer = 0; layer < config.numLayers; layer++) {
    const block = `model.layers.${layer}`;
    weights.set(`${block}.input_layernorm.weight`, [hiddenSize]);
    linear(`${block}.self_attn.q_proj`, queries, hiddenSize, config.attentionBias.qkv);
    linear(`${block}.self_attn.k_proj`, keys, hiddenSize, config.attentionBias.qkv);
    linear(`${block}.self_attn.v_proj`, keys, hiddenSize, config.attentionBias.qkv);
    linear(`${block}.self_attn.o_proj`, hiddenSize, queries, config.attentionBias.o);
    if (config.queryKeyNorm) {
      weights.set(`${block}.self_attn.q_norm.weight`, [headDim]);
      weights.set(`${block}.self_attn.k_norm.weight`, [headDim]);
    }
    weights.set(`${block}.post_attention_layernorm.weight`, [hiddenSize]);
    linear(`${block}.mlp.gate_proj`, intermediateSize, hiddenSize, config.mlpBias);
    linear(`${block}.mlp.up_proj`, intermediateSize, hiddenSize, config.mlpBias);
    linear(`${block}.mlp.down_proj`, hiddenSize, intermediateSize, config.mlpBias);
  }
  weights.set('model.norm.weight', [hiddenSize]);
  if (!config.tieWordEmbeddings) weights.set('lm_head.weight', [config.vocabSize, hiddenSize]);
  return weights;
}
