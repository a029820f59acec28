/** What the weights of a decoder are called in GGUF, in which type, and in which order of rows. */
import { architectureOf } from '../../models/architectures/lookup';
import type { DecoderConfig } from '../../models/modelConfig';
import { expectedWeights } from '../../models/config';
import { inverseFrequencies } from '../../models/rope';
import { q8BlockSize, type GgufTensor } from './format';

/** Type of the matrices; vectors are always F32. */
export type GgufFileType = 'f16' | 'q8_0';

/** A tensor of the file and the weight of the Hugging Face checkpoint that it holds. */
export interface PlannedTensor extends GgufTensor {
  source: string;
  /** Rows of each head change places, see `rotatedRow`. */
  rotated: boolean;
}

const outerNames: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
};
const blockNames: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** All tensors but the table of RoPE factors. A tied head is left out: the reader ties it itself. */
export function planTensors(config: DecoderConfig, fileType: GgufFileType): PlannedTensor[] {
  return [...expectedWeights(config)].map(([source, shape]) => {
    const [, module = '', kind = ''] = /^(.*)\.(weight|bias)$/.exec(source) ?? [];
    return {
      name: `${ggufName(module)}.${kind}`,
      source,
      shape,
      type: typeOf(shape, fileType),
      rotated: isRotated(module, config),
    };
  });
}

function ggufName(module: string): string {
  const [, layer, inner] = /^model\.layers\.(\d+)\.(.*)$/.exec(module) ?? [];
  const name = inner === undefined ? outerNames[module] : blockNames[inner];
  if (name === undefined) throw new Error(`No GGUF name for ${module}`);
  return layer === undefined ? name : `blk.${layer}.${name}`;
}

function typeOf(shape: readonly number[], fileType: GgufFileType): GgufTensor['type'] {
  if (shape.length < 2) return 'F32';
  // A row that is not made of whole blocks cannot be quantised.
  return fileType === 'q8_0' && (shape.at(-1) as number) % q8BlockSize === 0 ? 'Q8_0' : 'F16';
}

/** Where llama.cpp's RoPE turns other pairs of entries than transformers', rows change places. */
function isRotated(module: string, config: DecoderConfig): boolean {
  const turned = module.endsWith('.q_proj') || module.endsWith('.k_proj');
  return turned && architectureOf(config).gguf.turnsNeighbours;
}

/** The row of the checkpoint that stands at `row` of the file. */
export function rotatedRow(row: number, headDim: number): number {
  const within = row % headDim;
  return row - within + (within % 2) * (headDim / 2) + Math.floor(within / 2);
}

/**
 * Llama 3's RoPE scaling as factors by which llama.cpp divides each frequency, `[head_dim / 2]`;
 * undefined for any other scaling.
 */
export function ropeFactors(config: DecoderConfig): Float32Array | undefined {
  if (config.ropeScaling?.type !== 'llama3') return undefined;
  const scaled = inverseFrequencies(config);
  const plain = inverseFrequencies({ ...config, ropeScaling: undefined });
  return Float32Array.from(plain, (frequency, i) => frequency / (scaled[i] as number));
}
