/**
 * What is refused before a run, from shapes, is what the engine's own graphs are refused for, in the same
 * words. The engine believes to be on a GPU of small buffers; its graphs run on the CPU.
 */
import { describe, expect, it } from 'vitest';
import type { AdapterOptions } from '../../../src/adapters/method';
import { planAdapters } from '../../../src/adapters/plan';
import { type Method, runConfigSchema } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { bufferCuts, checkModelBuffers } from '../../../src/estimate/bufferUse';
import { attentionSize } from '../../../src/graph/decoder/block';
import { attentionCut } from '../../../src/graph/layers/attentionCut';
import { f32ToBf16 } from '../../../src/models/dtype';
import type { DecoderConfig, RawTensor } from '../../../src/models/modelConfig';
import { serializeError, type SerializedError } from '../../../src/protocol/errors';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { weightsFromMap } from '../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { checkBuffers } from '../../../src/trainer/ort/bufferLimit';
import { type Device, openDevice } from '../../../src/trainer/ort/device';
import { randomBatch, tinyConfig } from '../engine/tiny';

/** A GPU's rules on the CPU. */
function smallBuffers(bufferBytes: number): Device {
  const cpu = openDevice({ kind: 'cpu', threads: 1 });
  return {
    kind: 'webgpu',
    bufferBytes,
    compile: (graph, options) => {
      checkBuffers(graph, bufferBytes);
      return cpu.compile(graph, options);
    },
    upload: (...args) => cpu.upload(...args),
    read: (value) => cpu.read(value),
    free: () => Promise.resolve(),
    keep: () => undefined,
    setAside: (values) => () => values,
    scope: (work) => work(),
    memory: () => cpu.memory(),
    dispose: () => cpu.dispose(),
  };
}

interface Case {
  config: DecoderConfig;
  method: Method;
  adapter?: Partial<AdapterOptions>;
  dtype?: 'F32' | 'BF16';
  quantized?: boolean;
}

function optionsOf({ adapter }: Case): AdapterOptions {
  return runConfigSchema.parse({
    data: { train: 'none' },
    adapter: { r: 2, target_modules: ['q_proj'], ...adapter },
  }).adapter;
}

/** One step of few tokens; what the engine was refused for. */
async function refusal(run: Case, bufferBytes: number): Promise<SerializedError | undefined> {
  const { config, method, dtype = 'F32', quantized = false } = run;
  const source = randomWeights(config, 3);
  const tensors = new Map<string, RawTensor>();
  for (const name of source.names) {
    const tensor = await source.read(name);
    const values = tensor.data as Float32Array;
    tensors.set(name, dtype === 'F32' ? tensor : { ...tensor, dtype, data: f32ToBf16(values) });
  }
  const device = smallBuffers(bufferBytes);
  try {
    const engine = await createEngine({
      config,
      weights: weightsFromMap(tensors),
      adapters: await planAdapters({
        method,
        config,
        options: optionsOf(run),
        seed: 5,
        gemm: plainGemm,
        weight: ({ outFeatures, inFeatures }) =>
          Promise.resolve(Float32Array.from({ length: outFeatures * inFeatures }, (_, i) => i % 7)),
      }),
      device,
      threads: 1,
      quantization: quantized
        ? { doubleQuantization: true, onMeasured: () => undefined }
        : undefined,
    });
    const batch = randomBatch(config, [4]);
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const lossSum = await engine.takeLossSum();
    expect(lossSum).toBeGreaterThan(0);
    await engine.dispose();
    return undefined;
  } catch (error) {
    return serializeError(error);
  }
}

function predicted(run: Case, bufferBytes: number): SerializedError | undefined {
  try {
    const { config, method } = run;
    checkModelBuffers(config, { method, adapter: optionsOf(run) }, bufferBytes);
    return undefined;
  } catch (error) {
    return serializeError(error);
  }
}

const one = { ...tinyConfig, numLayers: 1 };
const tied = { ...one, tieWordEmbeddings: true };
/** Its query projection is the largest matrix of a block. */
const wideHeads = { ...one, headDim: 20 };
const floats = 4;
const gate = floats * 24 * 40;

describe('a matrix that cannot be cut', () => {
  it.each<[string, Case, number]>([
    ['LoRA, fp32', { config: one, method: 'lora' }, gate],
    ['random cores, bf16', { config: one, method: 'random_mpo', dtype: 'BF16' }, gate],
    [
      'DoTA on all layers',
      { config: one, method: 'dota', adapter: { target_modules: 'all-linear' } },
      gate,
    ],
    ['4-bit weights', { config: one, method: 'lora', quantized: true }, gate],
    ['wide heads', { config: wideHeads, method: 'lora' }, floats * 24 * 80],
    [
      'a vector of many parameters',
      { config: one, method: 'lora', adapter: { r: 12, target_modules: 'all-linear' } },
      // (out + in) x 12 of q, k, v, o, gate, up, down.
      floats * 12 * (48 + 36 + 36 + 48 + 3 * 64),
    ],
    [
      'all weights, tied tables',
      { config: tied, method: 'full' },
      // Norms, q and o, k and v, gate, up and down: more than projection and last norm.
      floats * (2 * 24 + 2 * 24 ** 2 + 2 * 24 * 12 + 3 * 24 * 40),
    ],
    [
      'all weights, large tables',
      { config: { ...one, vocabSize: 400 }, method: 'full' },
      // Projection and last norm; the embedding alone is smaller.
      floats * (400 * 24 + 24),
    ],
  ])(
    'is refused in the engine’s words, and up to the limit it is not: %s',
    async (_, run, bytes) => {
      const engine = await refusal(run, bytes - 1);
      expect(engine?.code).toBe('device.unavailable');
      expect(predicted(run, bytes - 1)).toEqual(engine);
      expect(predicted(run, bytes)).toBeUndefined();
      expect(await refusal(run, bytes)).toBeUndefined();
    },
  );

  it('is not refused where MPOP puts cores in its place', () => {
    const mlp = ['gate_proj', 'up_proj', 'down_proj'];
    const run: Case = { config: one, method: 'mpop', adapter: { target_modules: mlp } };
    expect(predicted(run, gate - 1)).toBeUndefined();
    // The query's projection, 24 x 24, stays.
    expect(predicted(run, floats * 24 * 24 - 1)?.message).toContain('self_attn.q_proj.weight');
  });
});

describe('what is cut', () => {
  const few = { batch: 2, sequence: 40 };

  it('are tables that do not train, and attention, by what a buffer holds', () => {
    const bufferBytes = 24 * 4 * 20;
    const limits = { bufferBytes, scoresBytes: bufferBytes };
    const cuts = bufferCuts(one, { method: 'dota' }, few, limits);
    expect(cuts.tableRows).toBe(20);
    expect(cuts.attention).toEqual(attentionCut(attentionSize(one, few), bufferBytes));
    expect(bufferCuts(one, { method: 'full' }, few, limits).tableRows).toBeUndefined();
  });

  it('is nothing where all fits', () => {
    const limits = { bufferBytes: 2 ** 27, scoresBytes: 2 ** 26 };
    expect(bufferCuts(one, { method: 'dota' }, few, limits)).toEqual({});
  });
});
