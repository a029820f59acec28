/**
 * A fifth family, added to nothing but the list of descriptions, is read, checked, trained on,
 * exported and listed. It computes what Qwen2 does, whose results by transformers therefore judge it; its
 * names and its defaults are its own.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { writeGguf } from '../../../src/export/gguf/writeGguf';
import { writeMergedModel } from '../../../src/export/mergedModel';
import { writeOnnx } from '../../../src/export/onnx/writeOnnx';
import { ModelList } from '../../../src/host/modelList';
import type { Architecture } from '../../../src/models/architectures/architecture';
import { parseModelConfig } from '../../../src/models/config';
import { loadModelFolder, type ModelFolder } from '../../../src/models/modelFolder';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { readGguf } from '../export/readGguf';
import { relativeError } from '../graph/harness';
import { writeDecoderFixture } from './decoderFixture';

const modelType = 'cousin';

vi.mock('../../../src/models/architectures/descriptions', async (original) => {
  const { architectures } = await original<{ architectures: readonly Architecture[] }>();
  const qwen2 = architectures.find((known) => known.modelType === 'qwen2')!;
  const cousin: Architecture = {
    ...qwen2,
    modelType: 'cousin',
    className: 'CousinForCausalLM',
    gguf: { architecture: 'cousin2', turnsNeighbours: true },
  };
  return { architectures: [...architectures, cousin] };
});

interface Fixture {
  config: { model_type: string; vocab_size: number };
  weights: Record<string, { shape: number[]; data: number[] }>;
  input_ids: number[][];
  attention_mask: number[][];
  labels: number[][];
  loss_sum: number;
  gradients: Record<string, number[]>;
}
const { cases } = JSON.parse(readFileSync('test/fixtures/engine/decoders.json', 'utf8')) as {
  cases: Fixture[];
};
const fixture = cases.find(({ config }) => config.model_type === 'qwen2')!;

let root: string;
let folder: string;
let model: ModelFolder;
beforeAll(async () => {
  root = mkdtempSync(path.join(os.tmpdir(), 'dota-family-'));
  folder = path.join(root, 'models', 'tiny');
  mkdirSync(folder, { recursive: true });
  const config = { ...fixture.config, model_type: modelType, architectures: ['CousinForCausalLM'] };
  const tokenizer = {
    added_tokens: [{ id: 2, content: '<s>', special: true }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
    model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] },
  };
  writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeDecoderFixture(folder, config, fixture.weights);
  // Checks every name and shape against the description.
  model = await loadModelFolder(folder);
});
afterAll(async () => {
  await model.weights.close();
  rmSync(root, { recursive: true, force: true });
});

describe('a family that only its description knows', () => {
  it('is named where another one is refused', () => {
    expect(() => parseModelConfig('{"model_type":"gpt2"}', 'config.json')).toThrowError(
      expect.objectContaining({ next: 'Supported: llama, mistral, qwen2, qwen3, cousin.' }),
    );
    const other = JSON.stringify({
      ...fixture.config,
      model_type: modelType,
      architectures: ['X'],
    });
    expect(() => parseModelConfig(other, 'config.json')).toThrowError(
      expect.objectContaining({ next: 'Supported: CousinForCausalLM.' }),
    );
    expect(model.config.architecture).toBe(modelType);
  });

  it('is trained on: loss and gradients are those of transformers', async () => {
    const engine = await createEngine({
      config: model.config,
      weights: model.weights,
      adapters: fullPlan,
      device: 'cpu',
      threads: 1,
    });
    const { input_ids: ids, attention_mask: mask, labels } = fixture;
    await engine.forwardBackward(
      {
        batchSize: ids.length,
        sequenceLength: ids[0]!.length,
        inputIds: Int32Array.from(ids.flat()),
        labels: Int32Array.from(labels.flat()),
        positionIds: Int32Array.from(ids.flatMap((row) => row.map((_, t) => t))),
        segmentIds: Int32Array.from(mask.flat()),
        lossTokens: labels.flat().filter((label) => label !== -100).length,
        tokens: mask.flat().filter(Boolean).length,
      },
      1,
    );
    const lossSum = await engine.takeLossSum();
    // As in engine/transformers: fp32 against fp64.
    expect(Math.abs(lossSum / fixture.loss_sum - 1)).toBeLessThan(1e-5);
    const gradient = await engine.readGradient();
    for (const { name, offset, size } of engine.trainable) {
      const own = gradient.subarray(offset, offset + size);
      expect(relativeError(own, fixture.gradients[name]!), name).toBeLessThan(1e-5);
    }
    await engine.dispose();
  });

  it('is exported: merged, ONNX, and GGUF under the name and order that it says', async () => {
    const at = (name: string): string => path.join(root, name);
    await writeMergedModel(model, {}, at('merged'), () => '# Tiny\n');
    const merged = await loadModelFolder(at('merged'));
    expect(merged.config).toEqual(model.config);
    await merged.weights.close();
    await writeOnnx(model, {}, at('onnx'), '# Tiny\n');
    await writeGguf(model, {}, at('tiny.gguf'), 'f16', { name: 'tiny', license: undefined });
    const { metadata, tensors } = readGguf(readFileSync(at('tiny.gguf')));
    expect(metadata.get('general.architecture')).toBe('cousin2');
    expect(metadata.get('cousin2.block_count')).toBe(model.config.numLayers);
    expect(tensors.has('blk.0.attn_q.bias')).toBe(true);
  });

  it('is in the list that the picker shows', async () => {
    const places = { sample: '', workspaceFolders: [root], listed: [], hubCache: undefined };
    const entries = await new ModelList(() => places).read();
    const entry = entries.find((listed) => listed.folder === folder);
    expect(entry).toMatchObject({ folder, architecture: modelType });
    expect(entry!.problem).toBeUndefined();
  });
});
