/**
 * Runs on the device named on the command line and prints JSON: what becomes of an operator that a GPU
 * has no kernel for, what a step and an evaluation hold there, and what comes back from them.
 */
import { planAdapters } from '../../../../src/adapters/plan';
import { runConfigSchema } from '../../../../src/config/runConfig';
import { plainGemm } from '../../../../src/core/linalg/plainGemm';
import { Graph } from '../../../../src/graph/graph';
import { serializeError } from '../../../../src/protocol/errors';
import type { Engine } from '../../../../src/trainer/engine';
import { createEngine } from '../../../../src/trainer/engine/createEngine';
import { randomWeights } from '../../../../src/trainer/engine/randomWeights';
import { type Device, openDevice } from '../../../../src/trainer/ort/device';
import type { DeviceKind } from '../../../../src/trainer/ort/sessionOptions';
import { hostArray } from '../../../../src/trainer/ort/values';
import { randomBatch, tinyConfig } from '../tiny';
import { type StepReport, stepLengths } from './stepReport';
import { watchRuntime } from './watchedRuntime';
import { takeStep } from '../../../../src/trainer/profile/takeStep';

const kind = process.argv[2] as DeviceKind;
const watched = watchRuntime();

/** An operator of ONNX that the trainer never emits, because no GPU has it. */
async function sign(): Promise<StepReport['sign']> {
  const graph = new Graph();
  graph.output('y', graph.node('Sign', [graph.input('x', 'float32', [3])], [3]));
  const device = openDevice({ kind, threads: 1 });
  try {
    const session = await device.compile(graph.build(), { host: ['y'] });
    const { y } = await session.run({ x: Float32Array.of(-2, 0, 3) });
    await session.release();
    return { values: [...hostArray(y)] };
  } catch (error) {
    return { error: serializeError(error) };
  } finally {
    await device.dispose();
  }
}

async function open(numLayers: number): Promise<{ engine: Engine; device: Device }> {
  const config = { ...tinyConfig, numLayers };
  const { adapter } = runConfigSchema.parse({
    data: { train: 'none' },
    adapter: { r: 2, target_modules: ['q_proj'] },
  });
  const adapters = await planAdapters({
    method: 'random_mpo',
    config,
    options: adapter,
    seed: 5,
    gemm: plainGemm,
    weight: () => Promise.resolve(new Float32Array(config.hiddenSize ** 2).fill(0.1)),
  });
  const device = openDevice({ kind, threads: 1 });
  const weights = randomWeights(config, 3);
  return { device, engine: await createEngine({ config, weights, adapters, device, threads: 1 }) };
}

const batches = stepLengths.map((lengths, i) => randomBatch(tinyConfig, lengths, i));
const [first] = batches as [(typeof batches)[0]];

async function step(engine: Engine, number: number): Promise<void> {
  await takeStep(engine, batches, number, { learningRate: 1e-3, weightDecay: 0.1 });
}

/** What `work` takes from the device and gives to it. */
async function traffic(work: () => Promise<unknown>): Promise<StepReport['step']> {
  watched.fetched = [];
  watched.fed = 0;
  await work();
  return { fetched: watched.fetched, fed: watched.fed };
}

async function memoryOf(numLayers: number): Promise<StepReport['memory'][number]> {
  const { engine, device } = await open(numLayers);
  await engine.evaluate(first);
  // The rotary tables stay.
  const atRest = device.memory().bytes;
  const evaluation = device.memory().peakBytes - atRest;
  await engine.forwardBackward(first, 1 / first.lossTokens);
  const report = { numLayers, evaluation, step: device.memory().peakBytes - atRest };
  await engine.dispose();
  return report;
}

const { engine } = await open(2);
await step(engine, 1);
const report: StepReport = {
  sign: await sign(),
  memory: [await memoryOf(1), await memoryOf(3)],
  step: await traffic(() => step(engine, 2)),
  passes: await traffic(async () => {
    for (const batch of batches) await engine.forwardBackward(batch, 1 / batch.lossTokens);
  }),
  evaluation: await traffic(() => engine.evaluate(first)),
  parameters: engine.trainable.reduce((sum, { size }) => sum + size, 0),
};
await engine.dispose();
console.log(JSON.stringify(report));
