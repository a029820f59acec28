import { afterAll, describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { dota } from '../../../src/adapters/dota';
import type { AttachContext } from '../../../src/adapters/method';
import { linearModules } from '../../../src/adapters/targets';
import { decomposeFor } from '../../../src/adapters/weightCores';
import { runConfigSchema } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import { readFloat32 } from '../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { FullGradients } from '../../../src/trainer/training/fullGradients';
import { relativeError } from '../graph/harness';
import { randomBatch, tinyConfig as config } from './tiny';

const weights = randomWeights(config, 3);
const batches = [randomBatch(config, [9, 12]), randomBatch(config, [7, 5, 11], 2)];
const modules = linearModules(config);
const common = { config, weights, device: 'cpu', threads: 1 } as const;
const deltas = new DenseDeltas(1);
afterAll(() => deltas.dispose());

/** The same gradients by full fine-tuning's own path. */
async function reference(): Promise<Map<string, Float32Array>> {
  const engine = await createEngine({ ...common, adapters: fullPlan });
  const labels = batches.reduce((sum, { lossTokens }) => sum + lossTokens, 0);
  for (const batch of batches) await engine.forwardBackward(batch, 1 / labels);
  const gradient = await engine.readGradient();
  const result = new Map(
    engine.trainable.map(({ name, offset, size }) => [name, gradient.slice(offset, offset + size)]),
  );
  await engine.dispose();
  return result;
}

const norm = (values: Float32Array): number => Math.hypot(...values);

describe('init_weights "gradient"', () => {
  it('accumulates the gradient of the full weights, group by group', async () => {
    const expected = await reference();
    for (const groupBytes of [2 ** 29, 8 * 24 * 24]) {
      const gradients = new FullGradients({ ...common, modules, batches, groupBytes });
      for (const module of modules) {
        // The same sums in the same order, up to what is fused: a few float32 units.
        const own = await gradients.of(module);
        expect(relativeError(own, expected.get(`${module.path}.weight`)!)).toBeLessThan(1e-5);
      }
    }
  });

  it('starts at the MPO of the gradient with the norm of the weight’s MPO, and step 0 unchanged', async () => {
    const options = runConfigSchema.parse({
      data: { train: 'x' },
      adapter: { r: 3, init_weights: 'gradient', residual: 'explicit' },
    }).adapter;
    const expected = await reference();
    const module = modules[1]!;
    const gradient = expected.get(`${module.path}.weight`)!;
    const weight = await readFloat32(weights, {
      name: `${module.path}.weight`,
      shape: [module.outFeatures, module.inFeatures],
    });
    const context: AttachContext = {
      options,
      seed: 1,
      gemm: plainGemm,
      weight: () => Promise.resolve(weight),
      gradient: () => Promise.resolve(gradient),
    };
    const adapter = await dota.attach(module, context);
    const start = await deltas.delta(adapter, weight);
    const ofWeight = await decomposeFor(module, weight, context);
    const ofGradient = await decomposeFor(module, gradient, context);
    expect(norm(start) / Math.sqrt(ofWeight.energy * ofWeight.keptEnergy)).toBeCloseTo(1, 5);
    // The projection on the gradient is what the truncated MPO keeps of it: cos = sqrt(kept energy).
    let product = 0;
    start.forEach((value, i) => (product += value * gradient[i]!));
    expect(product / norm(start) / norm(gradient)).toBeCloseTo(Math.sqrt(ofGradient.keptEnergy), 5);
    const { values } = await deltas.merge(adapter, weight, new Map());
    expect(relativeError(values, weight)).toBeLessThan(1e-6);
    await expect(dota.attach(module, { ...context, gradient: undefined })).rejects.toMatchObject({
      code: 'config.invalid',
    });
    const zero = () => Promise.resolve(new Float32Array(weight.length));
    await expect(dota.attach(module, { ...context, gradient: zero })).rejects.toMatchObject({
      code: 'config.invalid',
    });
  });
});
