/** A complete model folder of a few kilobytes with random weights, and data for it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Rng } from '../../../src/core/rng';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import { expectedWeights, parseModelConfig } from '../../../src/models/config';

const configText = JSON.stringify({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 258,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  initializer_range: 0.05,
  hidden_act: 'silu',
  bos_token_id: 256,
  eos_token_id: 257,
});

/** GPT-2's printable stand-ins for the 256 bytes, in byte order. */
function byteCharacters(): string[] {
  const printable = (b: number): boolean =>
    (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
}

function tokenizerText(): string {
  const special = (id: number, content: string): object => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(256, '<s>'), special(257, '</s>')],
    normalizer: null,
    pre_tokenizer: {
      type: 'ByteLevel',
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(byteCharacters().map((c, b) => [c, b])),
      merges: [],
    },
  });
}

/** Writes the model into `folder`. */
export async function writeTinyModel(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'config.json'), configText);
  writeFileSync(path.join(folder, 'tokenizer.json'), tokenizerText());
  writeFileSync(
    path.join(folder, 'tokenizer_config.json'),
    JSON.stringify({ bos_token: '<s>', eos_token: '</s>' }),
  );
  const shapes = [...expectedWeights(parseModelConfig(configText, 'config.json'))];
  await writeSafetensors(
    path.join(folder, 'model.safetensors'),
    shapes.map(([name, shape]) => {
      const size = shape.reduce((a, n) => a * n, 1);
      const data =
        shape.length === 1 ? new Float32Array(size).fill(1) : new Rng(7, name).normals(size, 0.05);
      return { name, dtype: 'F32', shape, data };
    }),
    { format: 'pt' },
  );
}

/** Sums as prompt and completion: short, since the tokenizer has one token a byte. */
export function writeTinyData(file: string, rows: number): void {
  const items = Array.from({ length: rows }, (_, i) => {
    const [a, b] = [(i * 7) % 10, (i * 3 + 1) % 10];
    return { prompt: `${a}+${b}=`, completion: String(a + b) };
  });
  writeFileSync(file, JSON.stringify(items));
}

/** A configuration of a few fast steps; `changes` go over it, section by section. */
export function tinyConfig(
  changes: { adapter?: object; training?: object; data?: object; [key: string]: unknown } = {},
): Record<string, unknown> {
  const { adapter, training, data, ...rest } = changes;
  return {
    model: 'model',
    method: 'dota',
    device: 'cpu',
    threads: 1,
    adapter: { r: 4, target_modules: ['q_proj', 'v_proj'], ...adapter },
    data: { train: 'train.json', validation_split: 0.1, max_length: 32, ...data },
    training: {
      num_train_epochs: 2,
      per_device_train_batch_size: 4,
      gradient_accumulation_steps: 2,
      learning_rate: 0.01,
      warmup_steps: 2,
      ...training,
    },
    ...rest,
  };
}

/** A workspace with model, data and configuration; returns the configuration's path. */
export async function writeTinyWorkspace(
  folder: string,
  changes?: Parameters<typeof tinyConfig>[0],
): Promise<string> {
  await writeTinyModel(path.join(folder, 'model'));
  writeTinyData(path.join(folder, 'train.json'), 60);
  const file = path.join(folder, 'tiny.dota.json');
  writeFileSync(file, JSON.stringify(tinyConfig(changes)));
  return file;
}
