import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countParameters, expectedWeights, parseModelConfig } from '../../../src/models/config';
import { fingerprintWeights, loadModelFolder } from '../../../src/models/modelFolder';
import { writeSafetensors } from '../../../src/models/safetensors/writer';

const tiny = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 32,
  rms_norm_eps: 1e-5,
};
const parse = (json: object) => parseModelConfig(JSON.stringify(json), 'config.json');
const errorOf = (json: object): unknown => {
  try {
    parse(json);
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('config.json', () => {
  it('of Llama 3.2 1B maps every field', () => {
    const config = parse({
      architectures: ['LlamaForCausalLM'],
      attention_bias: false,
      bos_token_id: 128000,
      eos_token_id: [128001, 128008, 128009],
      head_dim: 64,
      hidden_act: 'silu',
      hidden_size: 2048,
      initializer_range: 0.02,
      intermediate_size: 8192,
      max_position_embeddings: 131072,
      mlp_bias: false,
      model_type: 'llama',
      num_attention_heads: 32,
      num_hidden_layers: 16,
      num_key_value_heads: 8,
      pretraining_tp: 1,
      rms_norm_eps: 1e-5,
      rope_scaling: {
        factor: 32,
        high_freq_factor: 4,
        low_freq_factor: 1,
        original_max_position_embeddings: 8192,
        rope_type: 'llama3',
      },
      rope_theta: 500000,
      tie_word_embeddings: true,
      torch_dtype: 'bfloat16',
      vocab_size: 128256,
    });
    expect(config).toMatchObject({
      ropeTheta: 500000,
      ropeScaling: { type: 'llama3', factor: 32, originalMaxPositionEmbeddings: 8192 },
      eosTokenIds: [128001, 128008, 128009],
      headDim: 64,
      tieWordEmbeddings: true,
    });
    // The published count of Llama-3.2-1B.
    expect(countParameters(config)).toBe(1_235_814_400);
  });

  it('as transformers 5 writes it reads rope_parameters', () => {
    const config = parse({
      ...tiny,
      rope_parameters: { rope_type: 'linear', factor: 2, rope_theta: 5000 },
    });
    expect(config).toMatchObject({ ropeTheta: 5000, ropeScaling: { type: 'linear', factor: 2 } });
  });

  it('fills the defaults of each family', () => {
    expect(parse({ ...tiny, model_type: 'mistral', architectures: undefined }).slidingWindow).toBe(
      4096,
    );
    expect(
      parse({ ...tiny, model_type: 'mistral', architectures: [], sliding_window: null })
        .slidingWindow,
    ).toBeUndefined();
    expect(parse({ ...tiny, model_type: 'qwen2', architectures: [] }).attentionBias).toEqual({
      qkv: true,
      o: false,
    });
    const qwen3 = parse({ ...tiny, model_type: 'qwen3', architectures: [] });
    expect(qwen3).toMatchObject({ headDim: 128, queryKeyNorm: true });
    expect(expectedWeights(qwen3).get('model.layers.1.self_attn.q_norm.weight')).toEqual([128]);
  });

  const unsupported: [string, object, RegExp][] = [
    ['another family', { ...tiny, model_type: 'gpt2' }, /llama, mistral, qwen2, qwen3/],
    ['no model_type', { ...tiny, model_type: undefined }, /llama, mistral, qwen2, qwen3/],
    ['__proto__ as model_type', { ...tiny, model_type: '__proto__' }, /llama, mistral/],
    ['own code', { ...tiny, auto_map: { AutoModel: 'x.Y' } }, /never run/],
    ['another head', { ...tiny, architectures: ['LlamaForSequenceClassification'] }, /CausalLM/],
    ['another activation', { ...tiny, hidden_act: 'gelu' }, /silu/],
    ['yarn', { ...tiny, rope_scaling: { type: 'yarn', factor: 4 } }, /default, linear, llama3/],
    ['quantised weights', { ...tiny, quantization_config: { bits: 4 } }, /BF16/],
    [
      'a window in some layers',
      {
        ...tiny,
        model_type: 'qwen2',
        architectures: [],
        use_sliding_window: true,
        max_window_layers: 1,
      },
      /max_window_layers/,
    ],
  ];
  it.each(unsupported)('with %s is refused with what is supported', (_name, json, next) => {
    expect(errorOf(json)).toMatchObject({
      code: 'model.unsupported',
      where: 'config.json',
      next: expect.stringMatching(next) as unknown,
    });
  });

  it('with values out of range names the keys', () => {
    expect(errorOf({ ...tiny, hidden_size: 0, num_hidden_layers: 1e6 })).toMatchObject({
      code: 'file.malformed',
      message: expect.stringMatching(/hidden_size.*num_hidden_layers/) as unknown,
    });
    expect(errorOf({ ...tiny, hidden_size: 9 })).toMatchObject({ code: 'model.shape' });
    expect(errorOf({ ...tiny, num_key_value_heads: 3 })).toMatchObject({ code: 'model.shape' });
    expect(errorOf({ ...tiny, rope_scaling: { type: 'linear' } })).toMatchObject({
      code: 'file.malformed',
    });
  });
});

describe('a model folder', () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(path.join(os.tmpdir(), 'dota-folder-'));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  let counter = 0;
  async function make(change: (weights: Map<string, readonly number[]>) => void): Promise<string> {
    const folder = path.join(root, `m${counter++}`);
    await mkdir(folder);
    await writeFile(path.join(folder, 'config.json'), JSON.stringify(tiny));
    const weights = new Map(expectedWeights(parse(tiny)));
    change(weights);
    await writeSafetensors(
      path.join(folder, 'model.safetensors'),
      [...weights].map(([name, shape]) => ({
        name,
        shape,
        dtype: 'BF16' as const,
        data: new Uint16Array(shape.reduce((a, n) => a * n, 1)),
      })),
    );
    return folder;
  }

  it('opens, lists unused tensors, adds the ids of generation_config.json', async () => {
    const folder = await make((w) => w.set('model.layers.0.self_attn.rotary_emb.inv_freq', [1]));
    await writeFile(path.join(folder, 'generation_config.json'), '{"eos_token_id":[2,7]}');
    const model = await loadModelFolder(folder);
    expect(model.unusedTensors).toEqual(['model.layers.0.self_attn.rotary_emb.inv_freq']);
    expect(model.config.eosTokenIds).toEqual([2, 7]);
    await model.weights.close();
  });

  it('with a wrong shape names tensor and both shapes', async () => {
    const folder = await make((w) => w.set('model.layers.1.mlp.up_proj.weight', [16, 9]));
    await expect(loadModelFolder(folder)).rejects.toMatchObject({
      code: 'model.shape',
      where: folder,
      message: expect.stringMatching(
        /layers\.1\.mlp\.up_proj\.weight.*\[16, 9\].*\[16, 8\]/,
      ) as unknown,
    });
  });

  it('with a missing tensor names it', async () => {
    const folder = await make((w) => w.delete('lm_head.weight'));
    await expect(loadModelFolder(folder)).rejects.toMatchObject({
      code: 'model.shape',
      message: expect.stringContaining('lm_head.weight') as unknown,
    });
  });

  it('keeps its fingerprint when moved and changes it with one bit', async () => {
    const [one, same, other] = [
      await make(() => undefined),
      await make(() => undefined),
      await make(() => undefined),
    ];
    await writeSafetensors(path.join(other, 'model.safetensors'), [
      { name: 'a', dtype: 'U8', shape: [1], data: Uint8Array.of(1) },
    ]);
    const print = async (folder: string): Promise<string> =>
      fingerprintWeights({ folder, weights: { shards: ['model.safetensors'] } });
    expect(await print(one)).toMatch(/^[0-9a-f]{64}$/);
    expect(await print(same)).toBe(await print(one));
    expect(await print(other)).not.toBe(await print(one));
  });
});
