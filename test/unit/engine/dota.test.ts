import { afterAll, describe, expect, it } from 'vitest';
import { planAdapters } from '../../../src/adapters/plan';
import { runConfigSchema, type Method, type RunConfigInput } from '../../../src/config/runConfig';
import type { Engine } from '../../../src/trainer/engine';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { readFloat32 } from '../../../src/trainer/engine/frozenWeights';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { OrtGemm } from '../../../src/trainer/ort/ortGemm';
import { fullPlan } from '../../../src/adapters/adapter';
import { relativeError } from '../graph/harness';
import { randomBatch, tinyConfig } from './tiny';

const gemm = new OrtGemm(1);
const deltas = new DenseDeltas(1);
afterAll(async () => {
  await gemm.dispose();
  await deltas.dispose();
});
const weights = randomWeights(tinyConfig, 3);
const batch = randomBatch(tinyConfig, [9, 12, 7]);
const lastTokens = Int32Array.of(8, 11, 6);

async function build(
  method: Method,
  adapter: RunConfigInput['adapter'],
  residentLimit?: number,
  recompute = false,
): Promise<{ engine: Engine; plan: Awaited<ReturnType<typeof planAdapters>> }> {
  const { adapter: options } = runConfigSchema.parse({ data: { train: 'x' }, adapter });
  const plan = await planAdapters({
    method,
    config: tinyConfig,
    options,
    seed: 5,
    gemm,
    weight: ({ path, outFeatures, inFeatures }) =>
      readFloat32(weights, { name: `${path}.weight`, shape: [outFeatures, inFeatures] }),
  });
  const engine = await createEngine({
    config: tinyConfig,
    weights,
    adapters: plan,
    device: 'cpu',
    threads: 1,
    recompute,
    ...(residentLimit !== undefined && { residentLimit }),
  });
  return { engine, plan };
}

async function train(engine: Engine, steps: number): Promise<number[]> {
  const losses: number[] = [];
  for (let step = 1; step <= steps; step++) {
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const lossSum = await engine.takeLossSum();
    losses.push(lossSum / batch.lossTokens);
    await engine.optimizerStep(
      {
        step,
        learningRate: 1e-2,
        weightDecay: 0,
        adamBeta1: 0.9,
        adamBeta2: 0.999,
        adamEpsilon: 1e-8,
        maxGradNorm: 1,
      },
      await engine.gradientNorm(),
    );
  }
  return losses;
}

async function baseLogits(): Promise<Float32Array> {
  const engine = await createEngine({
    config: tinyConfig,
    weights,
    adapters: fullPlan,
    device: 'cpu',
    threads: 1,
  });
  const logits = await engine.logits(batch, lastTokens);
  await engine.dispose();
  return logits;
}

describe('adapters in the engine', () => {
  it.each([
    ['dota', { r: 4 }],
    ['dota', { r: 4, residual: 'explicit' }],
    ['dota', { r: 4, orientation: 'in', mpo_cores: 2 }],
    ['random_mpo', { r: 4 }],
    ['random_mpo', { r: 4, init_std: 0.1 }],
    ['random_mpo', { r: 4, init_random: 'frozen_copy' }],
    ['random_mpo', { r: 4, trainable_cores: [0, 1] }],
    ['dota', { r: 4, trainable_cores: 'auxiliary', core_learning_rate_factors: [1, 2] }],
    ['lora', { r: 4, lora_alpha: 8 }],
    ['loretta', { r: 4, lora_alpha: 16 }],
    ['loretta', { r: 4, lora_alpha: 16, init_random: 'frozen_copy' }],
    ['dota', { r: 4, layers_to_transform: 1, target_modules: ['q_proj', 'down_proj'] }],
  ] as const)('%s %j starts at the pretrained model and learns', async (method, adapter) => {
    const { engine, plan } = await build(method, adapter as RunConfigInput['adapter']);
    // Explicit residuals round W - MPO(A0) to fp32 once.
    expect(relativeError(await engine.logits(batch, lastTokens), await baseLogits())).toBeLessThan(
      1e-5,
    );
    const losses = await train(engine, 15);
    expect(losses.at(-1)).toBeLessThan(0.9 * losses[0]!);

    // Merged into the weights, the trained adapter is the same model.
    const { parameters } = await engine.readState();
    const merged = new Map<
      string,
      { dtype: 'F32'; shape: readonly number[]; data: Float32Array }
    >();
    for (const name of weights.names) {
      const raw = await weights.read(name);
      merged.set(name, { dtype: 'F32', shape: raw.shape, data: raw.data as Float32Array });
    }
    for (const [path, adapterOf] of plan.modules) {
      const values = new Map(
        engine.trainable
          .filter(({ name }) => name.startsWith(`${path}.`))
          .map(({ name, offset, size }) => [
            name.slice(path.length + 1),
            parameters.slice(offset, offset + size),
          ]),
      );
      const weight = merged.get(`${path}.weight`)!;
      merged.set(`${path}.weight`, {
        ...weight,
        data: (await deltas.merge(adapterOf, weight.data, values)).values,
      });
    }
    const plain = await createEngine({
      config: tinyConfig,
      weights: { names: [...merged.keys()], read: (name) => Promise.resolve(merged.get(name)!) },
      adapters: fullPlan,
      device: 'cpu',
      threads: 1,
    });
    expect(
      relativeError(await plain.logits(batch, lastTokens), await engine.logits(batch, lastTokens)),
    ).toBeLessThan(1e-5);
    await plain.dispose();
    await engine.dispose();
  });

  it('has the same gradients with saved and recomputed activations on widened weights', async () => {
    const gradients: Float32Array[] = [];
    for (const recompute of [false, true]) {
      const { engine } = await build('dota', { r: 4, residual: 'implicit' }, 0, recompute);
      await train(engine, 3);
      // Twice: a sum that was left in the weight's memory would be added to again.
      await engine.forwardBackward(batch, 1);
      await engine.zeroGradient();
      await engine.forwardBackward(batch, 1);
      gradients.push(await engine.readGradient());
      await engine.dispose();
    }
    expect(gradients[1]).toEqual(gradients[0]);
    const resident = (await build('dota', { r: 4, residual: 'implicit' })).engine;
    await train(resident, 3);
    await resident.forwardBackward(batch, 1);
    // The resident form holds W - MPO(A0), rounded once.
    expect(relativeError(gradients[0]!, await resident.readGradient())).toBeLessThan(1e-4);
    await resident.dispose();
  });

  const withDora = { use_dora: true };
  it.each([
    ['dota', 'dota', {}],
    ['dota, explicit', 'dota', { residual: 'explicit' }],
    ['random_mpo', 'random_mpo', {}],
    ['random_mpo, explicit', 'random_mpo', { init_random: 'frozen_copy', residual: 'explicit' }],
    ['pissa', 'lora', { init_lora_weights: 'pissa' }],
    ['mpop', 'mpop', {}],
    ['lora', 'lora', {}],
    ['dora', 'lora', withDora],
    ['loretta', 'loretta', {}],
  ] as const)(
    'trains alike on weights that are widened for a stage of a block and on resident ones: %s',
    async (_, method, options) => {
      const gradients: Float32Array[] = [];
      for (const residentLimit of [0, undefined]) {
        const { engine } = await build(method, { r: 4, ...options }, residentLimit);
        await train(engine, 2);
        await engine.forwardBackward(batch, 1);
        gradients.push(await engine.readGradient());
        await engine.dispose();
      }
      // As above: rounding of the residual, and Adam's division by small moments.
      expect(relativeError(gradients[0]!, gradients[1]!)).toBeLessThan(1e-4);
    },
  );

  it('gives the same function with an implicit and an explicit residual', async () => {
    // Weights that stay in the file's type keep the implicit form in the graphs.
    const implicit = (await build('dota', { r: 4, residual: 'implicit' }, 0)).engine;
    const explicit = (await build('dota', { r: 4, residual: 'explicit' })).engine;
    const difference = async () =>
      relativeError(
        await implicit.logits(batch, lastTokens),
        await explicit.logits(batch, lastTokens),
      );
    expect(await difference()).toBeLessThan(1e-5);
    await train(implicit, 10);
    await train(explicit, 10);
    expect(await difference()).toBeLessThan(1e-5);
    await implicit.dispose();
    await explicit.dispose();
  });
});
