/**
 * GGUF files of every supported family and style of tokenizer in llama.cpp, and ONNX folders in
 * transformers.js: ids as the tokenizers library gives them, logits as transformers computes them. The
 * models are tiny and random.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/core/rng';
import { writeGguf } from '../../../src/export/gguf/writeGguf';
import { writeMergedModel } from '../../../src/export/mergedModel';
import { writeOnnx } from '../../../src/export/onnx/writeOnnx';
import { expectedWeights, parseModelConfig } from '../../../src/models/config';
import { fromFloat32 } from '../../../src/models/dtype';
import { loadModelFolder, type ModelFolder } from '../../../src/models/modelFolder';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import { loadTokenizer, type Tokenizer } from '../../../src/models/tokenizer';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { allSplits } from '../../support/sentencePiece';
import { judgesPackages, runJudge } from '../support/judges';
import { compare, judges, readLogits, runNode } from './agreement';

const fixtures = path.resolve('test/fixtures/tokenizer');
const { strings } = JSON.parse(readFileSync(path.join(fixtures, 'ids.json'), 'utf8')) as {
  strings: string[];
};

interface Family {
  config: object;
  tokenizer: 'llama2' | 'llama3' | 'qwen';
  special: { bos_token?: string; eos_token: string };
}

const rope = (theta: number): object => ({ rope_theta: theta, max_position_embeddings: 512 });
const families: Record<string, Family> = {
  'Llama 2': {
    config: { model_type: 'llama', architectures: ['LlamaForCausalLM'], ...rope(10_000) },
    tokenizer: 'llama2',
    special: { bos_token: '<s>', eos_token: '</s>' },
  },
  'Llama 3': {
    config: {
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      ...rope(500_000),
      tie_word_embeddings: true,
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 64,
      },
    },
    tokenizer: 'llama3',
    special: { bos_token: '<|begin_of_text|>', eos_token: '<|eot_id|>' },
  },
  Mistral: {
    config: {
      model_type: 'mistral',
      architectures: ['MistralForCausalLM'],
      ...rope(10_000),
      sliding_window: null,
    },
    tokenizer: 'llama2',
    special: { bos_token: '<s>', eos_token: '</s>' },
  },
  'Qwen 2.5': {
    config: {
      model_type: 'qwen2',
      architectures: ['Qwen2ForCausalLM'],
      ...rope(1_000_000),
      tie_word_embeddings: true,
      use_sliding_window: false,
    },
    tokenizer: 'qwen',
    special: { eos_token: '<|im_end|>' },
  },
  'Qwen 3': {
    config: {
      model_type: 'qwen3',
      architectures: ['Qwen3ForCausalLM'],
      ...rope(1_000_000),
      head_dim: 32,
      use_sliding_window: false,
    },
    tokenizer: 'qwen',
    special: { eos_token: '<|im_end|>' },
  },
};

let root: string;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), 'dota-families-'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

/** The fixture's tokenizer; Llama 2's with its merges as converted SentencePiece models have them. */
function tokenizerOf(name: Family['tokenizer']): { text: string; size: number } {
  const json = JSON.parse(readFileSync(path.join(fixtures, `${name}.json`), 'utf8')) as {
    model: { vocab: Record<string, number>; merges: unknown };
    added_tokens: { id: number }[];
  };
  if (name === 'llama2') json.model.merges = allSplits(json.model.vocab);
  const ids = [...Object.values(json.model.vocab), ...json.added_tokens.map(({ id }) => id)];
  return { text: JSON.stringify(json), size: Math.max(...ids) + 1 };
}

async function writeModel(folder: string, { config, tokenizer, special }: Family): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const { text, size } = tokenizerOf(tokenizer);
  writeFileSync(path.join(folder, 'tokenizer.json'), text);
  writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(special));
  const shape = {
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    // More rows than ids, as published checkpoints have.
    vocab_size: size + 3,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    tie_word_embeddings: false,
    torch_dtype: 'float32',
    ...config,
  };
  const json = JSON.stringify(shape);
  writeFileSync(path.join(folder, 'config.json'), json);
  await writeSafetensors(
    path.join(folder, 'model.safetensors'),
    [...expectedWeights(parseModelConfig(json, 'config.json'))].map(([name, dims]) => {
      const count = dims.reduce((product, n) => product * n, 1);
      const values = new Rng(1, name).normals(count, dims.length === 1 ? 0.1 : 0.2);
      const data = name.endsWith('norm.weight') ? values.map((value) => 1 + value) : values;
      // What half precision holds, so that only the arithmetic differs.
      const rounded = fromFloat32('F16', data);
      return { name, dtype: 'F16' as const, shape: dims, data: rounded };
    }),
    { format: 'pt' },
  );
}

// llama.cpp does not normalise, and cannot be given a text with a NUL.
const texts = strings.filter((text) => text.normalize('NFC') === text && !text.includes('\0'));

function idsOf(tokenizer: Tokenizer): number[] {
  const ids = tokenizer.encode(texts.slice(0, 12).join('\n')).slice(0, 256);
  expect(ids.length).toBeGreaterThan(200);
  return ids;
}

/** The engine's logits of one sequence, `[ids, vocabulary]`. */
async function engineLogits(model: ModelFolder, ids: readonly number[]): Promise<Float32Array> {
  const { vocabSize } = model.config;
  const length = ids.length;
  const engine = await createEngine({
    config: model.config,
    weights: model.weights,
    adapters: { trainsBaseWeights: false, modules: new Map() },
    device: 'cpu',
    threads: 1,
  });
  const batch = {
    batchSize: 1,
    sequenceLength: length,
    inputIds: Int32Array.from(ids),
    labels: new Int32Array(length).fill(-100),
    positionIds: Int32Array.from(ids.keys()),
    segmentIds: new Int32Array(length).fill(1),
    lossTokens: 0,
    tokens: length,
  };
  const logits = new Float32Array(length * vocabSize);
  for (let at = 0; at < length; at++) {
    logits.set(await engine.logits(batch, Int32Array.of(at)), at * vocabSize);
  }
  await engine.dispose();
  return logits;
}

describe.runIf(process.env['DOTA_FULL'])('GGUF and ONNX', { timeout: 300_000 }, () => {
  it.each(Object.entries(families))('%s: ids and logits', async (name, family) => {
    const at = (file: string): string => path.join(root, `${name.replace(/\W/g, '')}-${file}`);
    await writeModel(at('model'), family);
    const tokenizer = await loadTokenizer(at('model'));
    const ids = idsOf(tokenizer);
    writeFileSync(at('input.json'), JSON.stringify({ ids, texts }));
    const script = path.join(judges, 'logits.py');
    const reference = JSON.parse(
      runJudge(script, [at('model'), at('input.json'), at('reference.f32')]),
    ) as { texts: number[][] };

    const model = await loadModelFolder(at('model'));
    const { vocabSize } = model.config;
    await writeGguf(model, {}, at('f16.gguf'), 'f16', { name, license: undefined });
    await writeOnnx(model, {}, at('onnx-model'), '# Tiny\n');
    await model.weights.close();
    const judged = runNode('llamaCpp.mjs', [
      ...[judgesPackages(), at('f16.gguf'), at('input.json'), at('own.f32')],
    ]) as { texts: number[][] };

    // llama.cpp reads a special token's name as text here, as this repository does; the reference
    // has no such mode, so it judges the texts without one.
    const wrong = texts.filter(
      (text, i) =>
        judged.texts[i]!.join() !== tokenizer.encode(text, { special: 'literal' }).join(),
    );
    expect(wrong).toEqual([]);
    const plain = texts.map((text, i) => ({ text, i })).filter(({ text }) => !/<.*>/s.test(text));
    expect(plain.length).toBeGreaterThan(60);
    for (const { text, i } of plain) expect(judged.texts[i], text).toEqual(reference.texts[i]);

    const agreement = compare(
      readLogits(at('own.f32')),
      readLogits(at('reference.f32')),
      vocabSize,
    );
    console.log(name, JSON.stringify(agreement));
    // The weights are the same; activations are rounded to half precision, 11 bits.
    expect(agreement.relative).toBeLessThan(2e-3);
    expect(agreement.marginOfFlips).toBeLessThan(1e-2);

    const out = at('onnx-out');
    mkdirSync(out);
    const onnx = runNode('transformersJs.mjs', [
      ...[judgesPackages(), at('onnx-model'), at('input.json'), out],
    ]) as { texts: number[][] };
    const matched = texts.filter(
      (text, i) => onnx.texts[i]!.join() !== tokenizer.encode(text, { special: 'match' }).join(),
    );
    expect(matched).toEqual([]);
    for (const file of ['onnx.f32', 'onnx-cached.f32']) {
      const logits = readLogits(path.join(out, file));
      const exact = compare(logits, readLogits(at('reference.f32')), vocabSize);
      // fp32 in another order.
      expect(exact.relative, file).toBeLessThan(1e-5);
      expect(exact.marginOfFlips, file).toBeLessThan(1e-3);
    }
  });

  it.each([
    ['Mistral', { sliding_window: 24 }],
    ['Qwen 2.5', { use_sliding_window: true, sliding_window: 24, max_window_layers: 0 }],
  ])(
    '%s with a window shorter than the text: carried where the format can, and said where not',
    async (name, own) => {
      const window = 24;
      const at = (file: string): string => path.join(root, `window-${name.slice(0, 4)}-${file}`);
      const family = families[name]!;
      await writeModel(at('full'), family);
      await writeModel(at('model'), { ...family, config: { ...family.config, ...own } });
      const ids = idsOf(await loadTokenizer(at('model')));
      writeFileSync(at('input.json'), JSON.stringify({ ids, texts: [] }));
      const reference = (folder: string): Float32Array => {
        const out = at(`${folder}.f32`);
        runJudge(path.join(judges, 'logits.py'), [at(folder), at('input.json'), out]);
        return readLogits(out);
      };
      const model = await loadModelFolder(at('model'));
      const { vocabSize } = model.config;
      const inside = window * vocabSize;
      const judge = reference('model');
      const agreement = (logits: Float32Array): number =>
        compare(logits, judge, vocabSize).relative;

      // The window makes a difference, and only beyond it.
      const full = reference('full');
      expect(
        compare(full.subarray(0, inside), judge.subarray(0, inside), vocabSize).relative,
      ).toBeLessThan(1e-5);
      expect(agreement(full)).toBeGreaterThan(1e-2);

      // fp32 in another order.
      expect(agreement(await engineLogits(model, ids)), 'engine').toBeLessThan(1e-5);
      await writeMergedModel(model, {}, at('merged'), () => '# Tiny\n');
      expect(agreement(reference('merged')), 'merged').toBeLessThan(1e-6);

      await writeOnnx(model, {}, at('onnx-model'), '# Tiny\n');
      const out = at('onnx-out');
      mkdirSync(out);
      runNode('transformersJs.mjs', [judgesPackages(), at('onnx-model'), at('input.json'), out]);
      for (const file of ['onnx.f32', 'onnx-cached.f32']) {
        expect(agreement(readLogits(path.join(out, file))), file).toBeLessThan(1e-5);
      }

      // llama.cpp has no window for these families: the export says so, and up to it all is the same.
      const description = { name, license: undefined };
      const { notes } = await writeGguf(model, {}, at('f16.gguf'), 'f16', description);
      await model.weights.close();
      expect(notes).toEqual([expect.stringContaining(`a window of ${window} tokens`)]);
      const args = [judgesPackages(), at('f16.gguf'), at('input.json'), at('own.f32')];
      runNode('llamaCpp.mjs', args);
      const llama = readLogits(at('own.f32'));
      const start = compare(llama.subarray(0, inside), judge.subarray(0, inside), vocabSize);
      expect(start.relative).toBeLessThan(2e-3);
      expect(compare(llama, full, vocabSize).relative).toBeLessThan(2e-3);
    },
  );
});
