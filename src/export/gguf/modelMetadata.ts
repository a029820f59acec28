/** What a GGUF file says about the model besides its tokenizer. */
import { architectureOf } from '../../models/architectures/lookup';
import type { DecoderConfig } from '../../models/modelConfig';
import type { GgufValue } from './format';
import type { GgufFileType } from './tensors';

export interface GgufDescription {
  name: string;
  /** Licence of the base model's card. */
  license: string | undefined;
}

/** `LLAMA_FTYPE_*` of llama.cpp. */
const fileTypes: Readonly<Record<GgufFileType, number>> = { f16: 1, q8_0: 7 };

export function modelMetadata(
  config: DecoderConfig,
  fileType: GgufFileType,
  { name, license }: GgufDescription,
): Map<string, GgufValue> {
  const { architecture } = architectureOf(config).gguf;
  const u32 = (value: number): GgufValue => ({ type: 'u32', value });
  const f32 = (value: number): GgufValue => ({ type: 'f32', value });
  const string = (value: string): GgufValue => ({ type: 'string', value });
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', string(architecture)],
    ['general.type', string('model')],
    ['general.name', string(name)],
    ...(license === undefined ? [] : [['general.license', string(license)] as const]),
    ['general.file_type', u32(fileTypes[fileType])],
    ['general.quantization_version', u32(2)],
    [`${architecture}.vocab_size`, u32(config.vocabSize)],
    [`${architecture}.context_length`, u32(config.maxPositionEmbeddings)],
    [`${architecture}.embedding_length`, u32(config.hiddenSize)],
    [`${architecture}.block_count`, u32(config.numLayers)],
    [`${architecture}.feed_forward_length`, u32(config.intermediateSize)],
    [`${architecture}.attention.head_count`, u32(config.numHeads)],
    [`${architecture}.attention.head_count_kv`, u32(config.numKeyValueHeads)],
    [`${architecture}.attention.key_length`, u32(config.headDim)],
    [`${architecture}.attention.value_length`, u32(config.headDim)],
    [`${architecture}.attention.layer_norm_rms_epsilon`, f32(config.rmsNormEps)],
    [`${architecture}.rope.dimension_count`, u32(config.headDim)],
    [`${architecture}.rope.freq_base`, f32(config.ropeTheta)],
  ]);
  if (config.ropeScaling?.type === 'linear') {
    metadata.set(`${architecture}.rope.scaling.type`, string('linear'));
    metadata.set(`${architecture}.rope.scaling.factor`, f32(config.ropeScaling.factor));
  }
  return metadata;
}
