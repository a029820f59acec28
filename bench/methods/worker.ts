/** One method on a generated model, in a process of its own: its memory and the time of a step. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { LinearModule } from '../../src/adapters/adapter';
import { planAdapters } from '../../src/adapters/plan';
import { coreShapes, mpoSpec } from '../../src/adapters/mpoShape';
import { type Method, runConfigSchema } from '../../src/config/runConfig';
import { plainGemm } from '../../src/core/linalg/plainGemm';
import type { Core } from '../../src/core/mpo/types';
import { type Nf4Tensor, SCALE_BLOCK } from '../../src/core/nf4';
import { Rng } from '../../src/core/rng';
import { blockTensors } from '../../src/graph/decoder/block';
import { Graph } from '../../src/graph/graph';
import { add } from '../../src/graph/ops/elementwise';
import { sizeOf } from '../../src/graph/shape';
import { expectedWeights } from '../../src/models/config';
import { f32ToBf16 } from '../../src/models/dtype';
import type { DecoderConfig } from '../../src/models/modelConfig';
import type { Engine } from '../../src/trainer/engine';
import { createEngine } from '../../src/trainer/engine/createEngine';
import type { WeightReader } from '../../src/trainer/engine/frozenWeights';
import { releaseInitial } from '../../src/trainer/training/initialCores';
import { openDevice } from '../../src/trainer/ort/device';
import { randomBatch } from '../step/setup';
import { takeStep } from '../../src/trainer/profile/takeStep';

export interface WorkerOptions {
  method: Method;
  quantized: boolean;
  /** Give the 4-bit matrices ready-made instead of quantising dense ones. */
  readyMade: boolean;
  rank: number;
  cores: number;
  hidden: number;
  intermediate: number;
  layers: number;
  vocabulary: number;
  batch: number;
  sequence: number;
  threads: number;
  optim: 'adamw_torch' | 'adamw_8bit';
}

/** A Llama-shaped model of these sizes. */
export function decoderOf(
  options: Pick<WorkerOptions, 'hidden' | 'intermediate' | 'layers' | 'vocabulary'>,
): DecoderConfig {
  const headDim = options.hidden >= 4096 ? 128 : 64;
  return {
    architecture: 'llama',
    hiddenSize: options.hidden,
    intermediateSize: options.intermediate,
    numLayers: options.layers,
    numHeads: options.hidden / headDim,
    numKeyValueHeads: options.hidden / headDim,
    headDim,
    vocabSize: options.vocabulary,
    maxPositionEmbeddings: 4096,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    ropeScaling: undefined,
    tieWordEmbeddings: options.hidden < 4096,
    attentionBias: { qkv: false, o: false },
    mlpBias: false,
    queryKeyNorm: false,
    slidingWindow: undefined,
    initializerRange: 0.02,
    bosTokenId: undefined,
    eosTokenIds: [],
    padTokenId: undefined,
  };
}

/** bf16 weights that are made when they are read, from one drawn pattern, so that none is held here. */
function generatedWeights(config: DecoderConfig): WeightReader {
  const shapes = expectedWeights(config);
  const pattern = f32ToBf16(new Rng(0, 'pattern').normals(2 ** 20, 0.02));
  const one = f32ToBf16(Float32Array.of(1))[0] as number;
  return {
    names: [...shapes.keys()],
    read: (name) => {
      const shape = shapes.get(name) ?? [];
      const data = new Uint16Array(sizeOf(shape));
      if (shape.length === 1) data.fill(one);
      else {
        const shift = new Rng(0, name).integer(2 ** 19);
        for (let at = 0; at < data.length;) {
          const part = pattern.subarray(shift, Math.min(pattern.length, shift + data.length - at));
          data.set(part, at);
          at += part.length;
        }
      }
      return Promise.resolve({ dtype: 'BF16' as const, shape, data });
    },
  };
}

/** Random codes with scales as of weights with a deviation of 0.02. */
function generatedNf4({ outFeatures, inFeatures, path }: LinearModule): Nf4Tensor {
  const length = outFeatures * inFeatures;
  const rng = new Rng(0, path);
  const codes = new Uint8Array(length / 2);
  const words = new Uint32Array(codes.buffer);
  let state = rng.integer(2 ** 31) | 1;
  for (let i = 0; i < words.length; i++) {
    // Marsaglia's xorshift: any codes will do, and there are billions.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state >>> 0;
  }
  const blocks = length / 64;
  const scales = {
    codes: new Uint8Array(blocks).fill(127),
    offset: 0.05,
    blockScales: new Float32Array(Math.ceil(blocks / SCALE_BLOCK)).fill(0.02),
  };
  return { length, blockSize: 64, codes, scales };
}

async function buildEngine(options: WorkerOptions, config: DecoderConfig): Promise<Engine> {
  const { adapter } = runConfigSchema.parse({
    data: { train: 'none' },
    adapter: {
      r: options.rank,
      mpo_cores: options.cores,
      residual: options.quantized ? 'explicit' : 'implicit',
    },
  });
  const adapters = await planAdapters({
    method: options.method,
    config,
    options: adapter,
    seed: 0,
    gemm: plainGemm,
    weight: () => Promise.reject(new Error('the bench gives the cores')),
    // Random cores stand in for the decomposition, on which a step's cost does not depend.
    initialCores: (module) =>
      options.method === 'lora'
        ? undefined
        : coreShapes(mpoSpec(module, adapter)).map((shape, k): Core => {
            const data = new Rng(0, module.path, k).normals(sizeOf(shape), 0.05);
            return { shape, data };
          }),
  });
  const engine = await createEngine({
    config,
    weights: generatedWeights(config),
    adapters,
    device: 'cpu',
    threads: options.threads,
    optimizer: options.optim,
    quantization: options.quantized
      ? { doubleQuantization: true, stored: options.readyMade ? generatedNf4 : undefined }
      : undefined,
  });
  // As a run does, which has them in its folder.
  releaseInitial(adapters);
  return engine;
}

function statusMb(field: 'VmHWM' | 'VmRSS'): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
}

/** Loads the runtime and runs something, so that what it costs without a model is known. */
async function emptyEngineMb(threads: number): Promise<number> {
  const device = openDevice({ kind: 'cpu', threads });
  const graph = new Graph();
  const x = graph.input('x', 'float32', [16]);
  graph.output('y', add(x, x));
  const session = await device.compile(graph.build());
  await session.run({ x: new Float32Array(16) });
  await session.release();
  globalThis.gc?.();
  return statusMb('VmRSS');
}

/** Bytes that the forward pass keeps for the backward pass: the products of each block. */
function savedActivationBytes(config: DecoderConfig, tokens: number): number {
  const products = blockTensors(config)
    .filter(({ name, shape }) => shape.length === 2 && !name.startsWith('mlp.down_proj'))
    .reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  return 4 * tokens * config.numLayers * (config.hiddenSize + products);
}

export async function runWorker(options: WorkerOptions): Promise<void> {
  const empty = await emptyEngineMb(options.threads);
  const config = decoderOf(options);
  const loading = performance.now();
  const engine = await buildEngine(options, config);
  const loaded = (performance.now() - loading) / 1000;
  globalThis.gc?.();
  const loadPeak = statusMb('VmHWM');
  const afterLoad = statusMb('VmRSS');
  // Resets the high-water mark: what follows is the step's own peak.
  writeFileSync('/proc/self/clear_refs', '5');
  const batch = randomBatch({ ...options });
  let number = 0;
  const step = async (): Promise<object> => {
    const started = performance.now();
    const cpu = process.cpuUsage();
    const { loss } = await takeStep(engine, [batch], ++number, { learningRate: 1e-4 });
    const used = process.cpuUsage(cpu);
    return {
      seconds: (performance.now() - started) / 1000,
      cpu: (used.user + used.system) / 1e6,
      loss,
      peakMb: statusMb('VmHWM'),
    };
  };
  const reply = (value: object): boolean => process.stdout.write(`${JSON.stringify(value)}\n`);
  reply({
    emptyMb: empty,
    loadSeconds: loaded,
    loadPeakMb: loadPeak,
    afterLoadMb: afterLoad,
    savedMb: savedActivationBytes(config, options.batch * options.sequence) / 2 ** 20,
    trainable: engine.trainable.reduce((sum, { size }) => sum + size, 0),
  });
  for await (const command of createInterface({ input: process.stdin })) {
    if (command !== 'step') break;
    reply(await step());
  }
  process.exit(0);
}
