/**
 * Peak memory and time to the first step of DoTA on a checkpoint of Llama-3.2-1B's shape (1.24
 * billion parameters in bf16, random), 1 x 512 tokens on the CPU, through the product's command line:
 * once with the decomposition, then with cached cores, then with full recompute.
 *
 *   npm run build && npm run bench -- memory [--folder <empty or earlier folder>] [--steps 2] [--only cached] [--json]
 *
 * The checkpoint takes 2.5 GB in the folder (a temporary one, removed at the end, when absent).
 */
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Rng } from '../src/core/rng';
import { expectedWeights, parseModelConfig } from '../src/models/config';
import { writeSafetensors } from '../src/models/safetensors/writer';

const shape = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  vocab_size: 128_256,
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-5,
  rope_theta: 500_000,
  rope_scaling: {
    rope_type: 'llama3',
    factor: 32,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  },
  hidden_act: 'silu',
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
};
const sampleModel = path.resolve('media/sample/model');

/** bf16 words of a normal distribution with standard deviation 0.02, from one table. */
function randomWords(name: string, length: number): Uint16Array {
  const table = new Rng(1, 'bench memory').normals(1 << 16, 0.02);
  const bits = new Uint16Array(table.buffer);
  const rng = new Rng(1, name);
  const words = new Uint16Array(length);
  // Runs of the table from random places: as good as random for time and memory, and fast.
  for (let at = 0; at < length;) {
    const from = rng.integer(1 << 15);
    const count = Math.min(1 << 12, length - at);
    for (let i = 0; i < count; i++) words[at + i] = bits[2 * (from + i) + 1]!;
    at += count;
  }
  return words;
}

async function makeModel(folder: string): Promise<void> {
  const model = path.join(folder, 'model');
  if (existsSync(path.join(model, 'model.safetensors'))) return;
  await mkdir(model, { recursive: true });
  await writeFile(path.join(model, 'config.json'), JSON.stringify(shape));
  for (const name of readdirSync(sampleModel)) {
    if (/^tokenizer|^special_tokens/.test(name)) {
      copyFileSync(path.join(sampleModel, name), path.join(model, name));
    }
  }
  const config = parseModelConfig(JSON.stringify(shape), 'config.json');
  await writeSafetensors(
    path.join(model, 'model.safetensors'),
    [...expectedWeights(config)].map(([name, dims]) => ({
      name,
      dtype: 'BF16' as const,
      shape: dims,
      data: () => {
        const length = dims.reduce((product, n) => product * n, 1);
        const ones = new Uint16Array(length).fill(0x3f80);
        return Promise.resolve(dims.length === 1 ? ones : randomWords(name, length));
      },
    })),
  );
}

interface Result {
  what: string;
  /** All time outside of the steps: what the last checkpoint takes is counted in. */
  secondsToFirstStep: number;
  secondsPerStep: number;
  peakBytes: number;
  /** Peak over the bytes of the weights file. */
  ratio: number;
}

async function measure(
  folder: string,
  what: string,
  recompute: boolean,
  steps: number,
): Promise<Result> {
  const config = path.join(folder, 'run.dota.json');
  await writeFile(
    config,
    JSON.stringify({
      model: 'model',
      method: 'dota',
      device: 'cpu',
      data: { train: 'text.txt', validation_split: 0, max_length: 512, loss_mask: 'all' },
      training: {
        max_steps: steps,
        per_device_train_batch_size: 1,
        eval_on_start: false,
        gradient_checkpointing: recompute,
      },
      output_dir: 'runs',
    }),
  );
  const cli = path.resolve('dist/trainer/cli.cjs');
  const started = Date.now();
  const child = spawn(process.execPath, [cli, 'train', config, '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  const answer = JSON.parse(output.trim().split('\n').at(-1) ?? '{}') as {
    run: string;
    peak_rss_mb: number;
    seconds: number;
  };
  if (code !== 0) throw new Error(`dota train ended with ${code}: ${output}`);
  const rows = readFileSync(path.join(answer.run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map(
      (line) => JSON.parse(line) as { kind: string; state?: string; at?: string; elapsed?: number },
    );
  const first = rows.filter(({ kind }) => kind === 'step');
  const ended = rows.findLast(({ kind, at }) => kind === 'state' && at !== undefined);
  const training = first.at(-1)?.elapsed ?? 0;
  const weights = (await stat(path.join(folder, 'model', 'model.safetensors'))).size;
  const peakBytes = answer.peak_rss_mb * 2 ** 20;
  return {
    what,
    secondsToFirstStep: (Date.parse(ended?.at ?? '') - started) / 1000 - training,
    secondsPerStep: training / first.length,
    peakBytes,
    ratio: peakBytes / weights,
  };
}

const { values } = parseArgs({
  options: {
    folder: { type: 'string' },
    steps: { type: 'string', default: '2' },
    /** `decomposition`, `cached` or `recompute`: that one alone, on an earlier run's folder. */
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const folder =
  values.folder === undefined
    ? mkdtempSync(path.join(os.tmpdir(), 'dota-bench-memory-'))
    : path.resolve(values.folder);
try {
  await makeModel(folder);
  await writeFile(path.join(folder, 'text.txt'), 'one and one is two, and so on. '.repeat(4000));
  if (values.only === undefined || values.only === 'decomposition') {
    await rm(path.join(folder, '.dota'), { recursive: true, force: true });
  }
  const steps = Number(values.steps);
  const results: Result[] = [];
  for (const [id, what, recompute] of [
    ['decomposition', 'decomposition', false],
    ['cached', 'cached cores', false],
    ['recompute', 'cached cores, full recompute', true],
  ] as const) {
    if (values.only !== undefined && values.only !== id) continue;
    const result = await measure(folder, what, recompute, steps);
    results.push(result);
    if (values.json) continue;
    console.log(
      `${what}: first step after ${result.secondsToFirstStep.toFixed(1)} s, ` +
        `${result.secondsPerStep.toFixed(1)} s a step, ` +
        `peak ${(result.peakBytes / 2 ** 20).toFixed(0)} MB = ${result.ratio.toFixed(2)} x the weights file`,
    );
  }
  if (values.json) console.log(JSON.stringify(results));
} finally {
  if (values.folder === undefined) await rm(folder, { recursive: true, force: true });
}
