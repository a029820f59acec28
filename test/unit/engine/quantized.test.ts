import { afterAll, describe, expect, it } from 'vitest';
import { fullPlan, type AdapterPlan } from '../../../src/adapters/adapter';
import type { AttachContext } from '../../../src/adapters/method';
import { planAdapters } from '../../../src/adapters/plan';
import { linearModules } from '../../../src/adapters/targets';
import { runConfigSchema, type Method } from '../../../src/config/runConfig';
import { dequantizeNf4, quantizeNf4 } from '../../../src/core/nf4';
import { expectedWeights } from '../../../src/models/config';
import type { RawTensor } from '../../../src/models/modelConfig';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import {
  readFloat32,
  weightsFromMap,
  type WeightReader,
} from '../../../src/trainer/engine/frozenWeights';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import type { QuantizationError } from '../../../src/trainer/engine/quantizeBlocks';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { OrtGemm } from '../../../src/trainer/ort/ortGemm';
import { randomBatch, tinyConfig as config } from './tiny';

const weights = randomWeights(config, 3);
const adapterOptions = runConfigSchema.parse({
  data: { train: 'x' },
  adapter: { r: 4, residual: 'explicit' },
}).adapter;

const gemm = new OrtGemm(1);
const deltas = new DenseDeltas(1);
afterAll(async () => {
  await gemm.dispose();
  await deltas.dispose();
});

function plan(method: Method, quantization?: AttachContext['quantization']): Promise<AdapterPlan> {
  return planAdapters({
    quantization,
    method,
    config,
    options: adapterOptions,
    seed: 1,
    weight: ({ path, outFeatures, inFeatures }) =>
      readFloat32(weights, { name: `${path}.weight`, shape: [outFeatures, inFeatures] }),
    gemm,
  });
}

/**
 * The checkpoint on which a dense engine equals the 4-bit one: each matrix replaced by its expanded
 * NF4 residual plus what the adapter took out.
 */
async function expandedWeights(adapters: AdapterPlan): Promise<WeightReader> {
  const matrices = new Map(linearModules(config).map((m) => [`${m.path}.weight`, m.path]));
  const tensors = new Map<string, RawTensor>();
  for (const [name, shape] of expectedWeights(config)) {
    const values = await readFloat32(weights, { name, shape });
    const path = matrices.get(name);
    if (path !== undefined) {
      const adapter = adapters.modules.get(path);
      const taken = adapter?.subtractsInitialDelta
        ? await deltas.delta(adapter, values)
        : undefined;
      const residual = values.map((value, i) => value - (taken?.[i] ?? 0));
      dequantizeNf4(quantizeNf4(residual), values);
      taken?.forEach((value, i) => (values[i] = (values[i] ?? 0) + value));
    }
    tensors.set(name, { dtype: 'F32', shape, data: values });
  }
  return weightsFromMap(tensors);
}

const common = { config, device: 'cpu', threads: 1 } as const;

describe('4-bit frozen weights', () => {
  for (const method of ['dota', 'lora', 'random_mpo'] as const) {
    it(`${method}: loss and gradient equal those on the expanded dense weights`, async () => {
      const adapters = await plan(method);
      const quantization = { doubleQuantization: true };
      const packed = await createEngine({ ...common, weights, adapters, quantization });
      const dense = await createEngine({
        ...common,
        weights: await expandedWeights(adapters),
        adapters,
      });
      const batch = randomBatch(config, [9, 12, 7]);
      const [a, b] = [
        await packed.forwardBackward(batch, 1 / batch.lossTokens),
        await dense.forwardBackward(batch, 1 / batch.lossTokens),
      ];
      expect(Math.abs(a.lossSum - b.lossSum)).toBeLessThan(1e-5 * b.lossSum);
      const [ga, gb] = [await packed.readGradient(), await dense.readGradient()];
      const distance = Math.hypot(...ga.map((value, i) => value - (gb[i] ?? 0)));
      expect(Math.hypot(...gb)).toBeGreaterThan(0);
      // fp32 sums in a different order (the dense one adds and subtracts the cores' product).
      expect(distance).toBeLessThan(1e-5 * Math.hypot(...gb));
      await packed.dispose();
      await dense.dispose();
    });
  }

  it('reports the step-0 error, for DoTA beside that of NF4 on the weight itself', async () => {
    let measured: QuantizationError | undefined;
    const adapters = await plan('dota');
    const engine = await createEngine({
      ...common,
      weights,
      adapters,
      quantization: { doubleQuantization: true, onMeasured: (error) => (measured = error) },
    });
    // Independent: the error of the expanded checkpoint against the original.
    const expanded = await expandedWeights(adapters);
    let error = 0;
    let energy = 0;
    for (const { path, outFeatures, inFeatures } of linearModules(config)) {
      const item = { name: `${path}.weight`, shape: [outFeatures, inFeatures] };
      const [w, q] = [await readFloat32(weights, item), await readFloat32(expanded, item)];
      w.forEach((value, i) => {
        error += (value - (q[i] ?? 0)) ** 2;
        energy += value ** 2;
      });
    }
    // The comparison rounds W - MPO + MPO once more in fp32, 1e-7 of the weights against an error of 1e-1.
    expect(measured?.relativeError).toBeCloseTo(Math.sqrt(error / energy), 5);
    expect(measured?.modules).toBe(14);
    // Gaussian weights: what the cores keep is no longer quantised, so the error is smaller.
    expect(measured!.relativeError).toBeLessThan(measured!.plainRelativeError);
    await engine.dispose();
  });

  it('loses less with each alternating round, never more than with one', async () => {
    const errors: number[] = [];
    for (const rounds of [1, 2, 5]) {
      const adapters = await plan('dota', { doubleQuantization: true, rounds });
      const engine = await createEngine({
        ...common,
        weights,
        adapters,
        quantization: {
          doubleQuantization: true,
          onMeasured: ({ relativeError }) => errors.push(relativeError),
        },
      });
      await engine.dispose();
    }
    expect(errors[1]).toBeLessThan(errors[0]!);
    expect(errors[2]).toBeLessThan(errors[1]!);
  });

  it('refuses to quantise weights that train', async () => {
    const quantization = { doubleQuantization: true };
    const run = createEngine({ ...common, weights, adapters: fullPlan, quantization });
    await expect(run).rejects.toMatchObject({ code: 'config.invalid' });
  });
});
