/**
 * Runs on the device named on the command line, with the method named after the number of steps (a random MPO
 * or full fine-tuning), and prints JSON: weights of every stored form, and many steps of accumulated micro-batches with evaluations and reads of the state between, over two shapes of
 * batches that take each other's graphs away, with the device's memory, the sessions and this process's
 * memory after each. A process of its own, because the software GPU is found through environment variables that
 * are read when the process starts.
 */
import { fullPlan } from '../../../../src/adapters/adapter';
import { planAdapters } from '../../../../src/adapters/plan';
import { runConfigSchema } from '../../../../src/config/runConfig';
import { plainGemm } from '../../../../src/core/linalg/plainGemm';
import { tinyConfig, randomBatch } from '../tiny';
import type { RawTensor } from '../../../../src/models/modelConfig';
import { f32ToBf16, f32ToF16 } from '../../../../src/models/dtype';
import { createEngine } from '../../../../src/trainer/engine/createEngine';
import { weightsFromMap } from '../../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../../src/trainer/engine/randomWeights';
import { openDevice } from '../../../../src/trainer/ort/device';
import type { DeviceKind } from '../../../../src/trainer/ort/sessionOptions';
import {
  compiledLimits,
  type LoopMethod,
  type ResidencySample,
  stepsOfShape,
} from './residencySample';
import { watchRuntime } from './watchedRuntime';
import { takeStep } from '../../../../src/trainer/profile/takeStep';

const kind = process.argv[2] as DeviceKind;
const steps = Number(process.argv[3]);
const method = process.argv[4] as LoopMethod;
const runtime = watchRuntime();
const config = { ...tinyConfig, numLayers: 1 };
const batch = randomBatch(config, [9, 12]);
const shapes = [[batch, randomBatch(config, [12, 10], 2)], [randomBatch(config, [7, 5, 6], 3)]];
// One adapted matrix: few kernels, so that a slow software GPU gets through many steps.
const { adapter } = runConfigSchema.parse({
  data: { train: 'none' },
  adapter: { r: 2, target_modules: ['q_proj'], init_lora_weights: 'gaussian' },
});
const mpo = await planAdapters({
  method: 'random_mpo',
  config,
  options: adapter,
  seed: 5,
  gemm: plainGemm,
  weight: () => Promise.resolve(new Float32Array(config.hiddenSize ** 2).fill(0.1)),
});
const adapters = method === 'full' ? fullPlan : mpo;
const report: Record<string, unknown> = {};

async function storedAs(dtype: 'BF16' | 'F16'): Promise<Map<string, RawTensor>> {
  const source = randomWeights(config, 3);
  const narrow = dtype === 'BF16' ? f32ToBf16 : f32ToF16;
  const tensors = new Map<string, RawTensor>();
  for (const name of source.names) {
    const tensor = await source.read(name);
    tensors.set(name, { ...tensor, dtype, data: narrow(tensor.data as Float32Array) });
  }
  return tensors;
}

for (const dtype of ['BF16', 'F16'] as const) {
  const device = openDevice({ kind, threads: 1 });
  const weights = weightsFromMap(await storedAs(dtype));
  const engine = await createEngine({
    config,
    weights,
    adapters,
    device,
    threads: 1,
    compiledLimit: compiledLimits[method],
  });
  const bytesAtRest = device.memory().bytes;
  await engine.forwardBackward(batch, 1 / batch.lossTokens);
  const lossSum = await engine.takeLossSum();
  const gradient = [...(await engine.readGradient())];
  report[dtype] = { lossSum, gradient, bytesAtRest };
  if (dtype === 'F16') {
    const samples: ResidencySample[] = [];
    for (let step = 1; step <= steps; step++) {
      const micro = shapes[Math.floor((step - 1) / stepsOfShape) % shapes.length]!;
      const { loss } = await takeStep(engine, micro, step, { learningRate: 1e-3 });
      if (!Number.isFinite(loss)) throw new Error('the loss is not finite');
      // As a validation and a checkpoint do.
      if (step % 2 === 0) await engine.evaluate(micro[0]!);
      if (step % 5 === 0) await engine.readState();
      const { tensors, bytes } = device.memory();
      const { sessions, made } = runtime;
      samples.push({ tensors, bytes, sessions, made, rss: process.memoryUsage.rss() });
    }
    report['samples'] = samples;
  }
  await engine.dispose();
  report[`${dtype} left`] = device.memory().tensors + runtime.sessions;
}
console.log(JSON.stringify(report));
