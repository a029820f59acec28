/** A decoder of the Llama family in our own words, read from a Hugging Face `config.json`. */
export interface DecoderConfig {
  /** `model_type` of the family whose description it was read by. */
  architecture: string;
  hiddenSize: number;
  intermediateSize: number;
  numLayers: number;
  numHeads: number;
  numKeyValueHeads: number;
  headDim: number;
  vocabSize: number;
  maxPositionEmbeddings: number;
  rmsNormEps: number;
  ropeTheta: number;
  /** undefined = plain RoPE. */
  ropeScaling:
    | {
        type: 'llama3';
        factor: number;
        lowFreqFactor: number;
        highFreqFactor: number;
        originalMaxPositionEmbeddings: number;
      }
    | { type: 'linear'; factor: number }
    | undefined;
  tieWordEmbeddings: boolean;
  /** Biases on q_proj, k_proj, v_proj (Qwen2; Llama's `attention_bias` also sets `o`). */
  attentionBias: { qkv: boolean; o: boolean };
  mlpBias: boolean;
  /** RMSNorm over each head of q and k before RoPE (Qwen3). */
  queryKeyNorm: boolean;
  /** Attention window in tokens (Mistral), undefined = full. */
  slidingWindow: number | undefined;
  /** Std of a fresh initialisation (`initializer_range`). */
  initializerRange: number;
  bosTokenId: number | undefined;
  eosTokenIds: readonly number[];
  padTokenId: number | undefined;
}

/** safetensors element types that the product reads. */
export type WeightDtype = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'U8';

/** A tensor in the file's own type: BF16 and F16 as raw 16-bit words. */
export interface RawTensor {
  dtype: WeightDtype;
  shape: readonly number[];
  data: Float64Array | Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array;
}

/** Random access to the tensors of a model folder or a single file. */
export interface WeightSource {
  readonly names: readonly string[];
  info(name: string): { dtype: WeightDtype; shape: readonly number[] } | undefined;
  /** @throws DotaError `file.missing`, `file.malformed` */
  read(name: string): Promise<RawTensor>;
  close(): Promise<void>;
}
