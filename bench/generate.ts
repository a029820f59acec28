/**
 * Tokens a second of generation: with the cache of keys and values, without one, and by llama.cpp on
 * the same F16 weights where node-llama-cpp is installed. The sides run in turns, so that a busy
 * machine slows all of them.
 *
 *   npm run bench -- generate [--json] [--hidden 1024] [--layers 8] [--tokens 64] [--rounds 3]
 *
 * `--llama FOLDER` names a folder whose node_modules hold node-llama-cpp; by default the one that
 * `npm run test:full` fills.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Rng } from '../src/core/rng';
import { writeGguf } from '../src/export/gguf/writeGguf';
import { expectedWeights, parseModelConfig } from '../src/models/config';
import { fromFloat32 } from '../src/models/dtype';
import { loadModelFolder } from '../src/models/modelFolder';
import { writeSafetensors } from '../src/models/safetensors/writer';
import { createEngine } from '../src/trainer/engine/createEngine';
import { FrozenWeights } from '../src/trainer/engine/frozenWeights';
import { generateGreedy } from '../src/trainer/generate';
import { CachedDecoder } from '../src/trainer/generation/cachedDecoder';
import { generateAll } from '../src/trainer/generation/generate';
import { openDevice } from '../src/trainer/ort/device';

const sample = path.resolve('media/sample/model');

/** A Llama with random F16 weights and the sample's tokenizer. */
async function writeModel(folder: string, hidden: number, layers: number): Promise<void> {
  const sampleModel = await loadModelFolder(sample);
  await sampleModel.weights.close();
  const text = JSON.stringify({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: hidden,
    intermediate_size: 3 * hidden,
    num_hidden_layers: layers,
    num_attention_heads: hidden / 64,
    num_key_value_heads: Math.max(1, hidden / 256),
    vocab_size: sampleModel.config.vocabSize,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    hidden_act: 'silu',
  });
  writeFileSync(path.join(folder, 'config.json'), text);
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    copyFileSync(path.join(sample, name), path.join(folder, name));
  }
  const tensors = [...expectedWeights(parseModelConfig(text, 'config.json'))].map(
    ([name, shape]) => {
      const size = shape.reduce((product, n) => product * n, 1);
      const values =
        shape.length === 1 ? new Float32Array(size).fill(1) : new Rng(1, name).normals(size, 0.02);
      return { name, dtype: 'F16', shape, data: fromFloat32('F16', values) } as const;
    },
  );
  await writeSafetensors(path.join(folder, 'model.safetensors'), tensors, { format: 'pt' });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

/** Tokens a second of `count` tokens. */
async function rate(count: number, run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return (1000 * count) / (performance.now() - started);
}

function llamaRate(
  packages: string,
  gguf: string,
  prompt: readonly number[],
  tokens: number,
  threads: number,
): number {
  const args = [packages, gguf, JSON.stringify(prompt), String(tokens), String(threads)];
  const run = spawnSync(process.execPath, ['bench/generate/llamaCpp.mjs', ...args], {
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(`llama.cpp failed: ${run.stderr.slice(-500)}`);
  return Number((JSON.parse(run.stdout) as { tokensPerSecond: number }).tokensPerSecond);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      hidden: { type: 'string', default: '1024' },
      layers: { type: 'string', default: '8' },
      tokens: { type: 'string', default: '64' },
      prompt: { type: 'string', default: '32' },
      rounds: { type: 'string', default: '3' },
      threads: { type: 'string', default: '2' },
      llama: { type: 'string', default: '.cache/judges-npm' },
    },
  });
  const [tokens, threads] = [Number(values.tokens), Number(values.threads)];
  const packages = path.resolve(values.llama);
  const hasLlama = existsSync(path.join(packages, 'node_modules/node-llama-cpp'));
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-bench-'));
  try {
    await writeModel(folder, Number(values.hidden), Number(values.layers));
    const model = await loadModelFolder(folder);
    const { config, weights: reader } = model;
    const gguf = path.join(folder, 'model.gguf');
    if (hasLlama) {
      await writeGguf(model, {}, gguf, 'f16', { name: 'bench', license: undefined });
    }
    const wanted = [...expectedWeights(config)].map(([name, shape]) => ({ name, shape }));
    const weights = await FrozenWeights.load(reader, wanted, true);
    const decoder = new CachedDecoder({ config, device: openDevice({ kind: 'cpu', threads }) });
    const engine = await createEngine({
      config,
      weights: reader,
      adapters: { trainsBaseWeights: false, modules: new Map() },
      device: 'cpu',
      threads,
    });
    const rng = new Rng(2, 'prompt');
    const prompt = Array.from({ length: Number(values.prompt) }, () =>
      rng.integer(config.vocabSize),
    );
    const cached = (count: number): Promise<unknown> =>
      generateAll(decoder, weights, [prompt], {
        strategy: { kind: 'greedy' },
        maxNewTokens: count,
        eosTokenIds: [],
      });
    const naiveTokens = Math.max(4, Math.floor(tokens / 4));
    const rates = { cached: [] as number[], naive: [] as number[], llama: [] as number[] };
    // Compiles the graphs.
    await cached(tokens);
    await generateGreedy(engine, [prompt], [], naiveTokens);
    for (let round = 0; round < Number(values.rounds); round++) {
      rates.cached.push(await rate(tokens, () => cached(tokens)));
      rates.naive.push(
        await rate(naiveTokens, () => generateGreedy(engine, [prompt], [], naiveTokens)),
      );
      if (hasLlama) rates.llama.push(llamaRate(packages, gguf, prompt, tokens, threads));
    }
    const result = {
      parameters: wanted.reduce((sum, { shape }) => sum + shape.reduce((a, n) => a * n, 1), 0),
      threads,
      tokens,
      cached: median(rates.cached),
      naive: median(rates.naive),
      llama_cpp: hasLlama ? median(rates.llama) : null,
      ratio_to_llama_cpp: hasLlama ? median(rates.cached) / median(rates.llama) : null,
    };
    if (values.json) console.log(JSON.stringify(result));
    else {
      const shown = (value: number): string => `${value.toFixed(1)} tokens/s`;
      console.log(`${(result.parameters / 1e6).toFixed(0)} million parameters, ${threads} threads`);
      console.log(`with cache     ${shown(result.cached)}`);
      console.log(`without cache  ${shown(result.naive)} (first ${naiveTokens} tokens)`);
      console.log(
        result.llama_cpp === null
          ? 'llama.cpp      not installed: npm run test:full installs it, or name it with --llama'
          : `llama.cpp F16  ${shown(result.llama_cpp)}; ratio ${result.ratio_to_llama_cpp?.toFixed(2)}`,
      );
    }
    await decoder.dispose();
    await engine.dispose();
    await reader.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
