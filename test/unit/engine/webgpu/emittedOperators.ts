/** Which operators a GPU's engine really asks for, of every method; the graphs run on the CPU. */
import { planAdapters } from '../../../../src/adapters/plan';
import { type Method, methods, runConfigSchema } from '../../../../src/config/runConfig';
import { plainGemm } from '../../../../src/core/linalg/plainGemm';
import { Rng } from '../../../../src/core/rng';
import type { BuiltGraph, GraphNode } from '../../../../src/graph/graph';
import { f32ToBf16, f32ToF16 } from '../../../../src/models/dtype';
import type { DecoderConfig, RawTensor } from '../../../../src/models/modelConfig';
import { createEngine, type EngineOptions } from '../../../../src/trainer/engine/createEngine';
import { weightsFromMap } from '../../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../../src/trainer/engine/randomWeights';
import { type CompileOptions, type Device, openDevice } from '../../../../src/trainer/ort/device';
import { randomBatch, tinyConfig } from '../tiny';

/** A CPU that the engine takes for a GPU, so that its graphs are a GPU's. */
function recordingDevice(
  bufferBytes: number | undefined,
  seen: (graph: BuiltGraph) => void,
): Device {
  const cpu = openDevice({ kind: 'cpu', threads: 1 });
  return {
    kind: 'webgpu',
    bufferBytes,
    compile: (graph: BuiltGraph, options?: CompileOptions) => {
      seen(graph);
      return cpu.compile(graph, options);
    },
    upload: (data, dtype, shape) => cpu.upload(data, dtype, shape),
    read: (value) => cpu.read(value),
    free: (values) => cpu.free(values),
    keep: (value) => {
      cpu.keep(value);
    },
    setAside: (values) => cpu.setAside(values),
    scope: (work) => cpu.scope(work),
    memory: () => cpu.memory(),
    dispose: () => cpu.dispose(),
  };
}

interface Variant extends Partial<
  Pick<EngineOptions, 'quantization' | 'recompute' | 'residentLimit'>
> {
  method: Method;
  config?: Partial<DecoderConfig>;
  adapter?: Record<string, unknown>;
  dtype?: 'F32' | 'BF16' | 'F16';
  bufferBytes?: number;
}

const nf4 = (doubleQuantization: boolean): Variant['quantization'] => ({
  doubleQuantization,
});
const variants: Variant[] = [
  ...methods.map((method): Variant => ({ method })),
  ...methods.map((method): Variant => ({
    method,
    recompute: true,
    dtype: 'BF16',
    residentLimit: 0,
  })),
  ...(['in', 'out'] as const).map((orientation): Variant => ({
    method: 'dota',
    adapter: { orientation },
  })),
  { method: 'dota', adapter: { residual: 'explicit' }, dtype: 'F16' },
  { method: 'lora', adapter: { use_dora: true } },
  { method: 'lora', adapter: { use_rslora: true }, quantization: nf4(true) },
  { method: 'dota', quantization: nf4(false) },
  { method: 'lora', bufferBytes: 16 * 1024, config: { vocabSize: 450 } },
  { method: 'full', config: { tieWordEmbeddings: true } },
  {
    method: 'full',
    config: {
      attentionBias: { qkv: true, o: true },
      mlpBias: true,
      queryKeyNorm: true,
      slidingWindow: 5,
    },
  },
];

async function weightsOf(config: DecoderConfig, dtype: 'F32' | 'BF16' | 'F16') {
  const source = randomWeights(config, 3);
  const tensors = new Map<string, RawTensor>();
  for (const name of source.names) {
    const tensor = await source.read(name);
    const values = tensor.data as Float32Array;
    const narrow = dtype === 'BF16' ? f32ToBf16 : f32ToF16;
    tensors.set(name, dtype === 'F32' ? tensor : { ...tensor, dtype, data: narrow(values) });
  }
  return weightsFromMap(tensors);
}

/** What a provider chooses a kernel by: an operator may be there for one type and not for another. */
export function operatorSignature({ op, inputTypes }: GraphNode): string {
  return `${op}(${[...new Set(inputTypes)].join(', ')})`;
}

/** Operators of all graphs of a step, an evaluation and logits, by the variant that asked first. */
export async function operatorsOfEngines(): Promise<Map<string, Variant>> {
  const operators = new Map<string, Variant>();
  for (const variant of variants) {
    const { method, dtype = 'F32', bufferBytes, quantization, recompute, residentLimit } = variant;
    const config: DecoderConfig = { ...tinyConfig, ...variant.config };
    const { adapter } = runConfigSchema.parse({
      data: { train: 'none' },
      adapter: { r: 2, target_modules: 'all-linear', ...variant.adapter },
    });
    const device = recordingDevice(bufferBytes, ({ nodes }) => {
      for (const node of nodes) {
        const signature = operatorSignature(node);
        if (!operators.has(signature)) operators.set(signature, variant);
      }
    });
    const engine = await createEngine({
      config,
      weights: await weightsOf(config, dtype),
      adapters: await planAdapters({
        method,
        config,
        options: adapter,
        seed: 5,
        gemm: plainGemm,
        weight: ({ outFeatures, inFeatures, path }) =>
          Promise.resolve(new Rng(2, path).normals(outFeatures * inFeatures, 0.2)),
      }),
      device,
      threads: 1,
      ...(quantization && { quantization }),
      ...(recompute !== undefined && { recompute }),
      ...(residentLimit !== undefined && { residentLimit }),
    });
    const lengths = [40, 31];
    const batch = randomBatch(config, lengths);
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const lossSum = await engine.takeLossSum();
    if (!Number.isFinite(lossSum)) throw new Error(`${JSON.stringify(variant)}: loss ${lossSum}`);
    await engine.optimizerStep(
      {
        step: 1,
        learningRate: 1e-3,
        weightDecay: 0.1,
        adamBeta1: 0.9,
        adamBeta2: 0.999,
        adamEpsilon: 1e-8,
        maxGradNorm: 1,
      },
      await engine.gradientNorm(),
    );
    await engine.zeroGradient();
    await engine.evaluate(batch);
    await engine.logits(
      batch,
      Int32Array.from(lengths, (length) => length - 1),
    );
    await engine.dispose();
  }
  return operators;
}
