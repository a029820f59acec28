import { describe, expect, it } from 'vitest';
import { fullPlan, type AdapterPlan } from '../../../src/adapters/adapter';
import type { AttachContext } from '../../../src/adapters/method';
import { linearModules } from '../../../src/adapters/targets';
import type { Method } from '../../../src/config/runConfig';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { readFloat32 } from '../../../src/trainer/engine/frozenWeights';
import type { QuantizationError } from '../../../src/trainer/engine/quantizeBlocks';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { openDevice } from '../../../src/trainer/ort/device';
import { expandedWeights, planFourBit } from './fourBit';
import { randomBatch, tinyConfig as config } from './tiny';
import { denseBlockBytes, watchedDevice, watchedReader } from './watchedWeights';

const weights = randomWeights(config, 3);
const plan = (method: Method, quantization?: AttachContext['quantization']): Promise<AdapterPlan> =>
  planFourBit(method, config, weights, { quantization });

const common = { config, device: 'cpu', threads: 1 } as const;

describe('4-bit frozen weights', () => {
  for (const method of ['dota', 'lora', 'random_mpo'] as const) {
    it(`${method}: loss and gradient equal those on the expanded dense weights`, async () => {
      const adapters = await plan(method);
      const quantization = { doubleQuantization: true };
      const packed = await createEngine({ ...common, weights, adapters, quantization });
      const dense = await createEngine({
        ...common,
        weights: await expandedWeights(config, weights, adapters),
        adapters,
      });
      const batch = randomBatch(config, [9, 12, 7]);
      for (const engine of [packed, dense]) {
        await engine.forwardBackward(batch, 1 / batch.lossTokens);
      }
      const [a, b] = [await packed.takeLossSum(), await dense.takeLossSum()];
      expect(Math.abs(a - b)).toBeLessThan(1e-5 * b);
      const [ga, gb] = [await packed.readGradient(), await dense.readGradient()];
      const distance = Math.hypot(...ga.map((value, i) => value - (gb[i] ?? 0)));
      expect(Math.hypot(...gb)).toBeGreaterThan(0);
      // fp32 sums in a different order (the dense one adds and subtracts the cores' product).
      expect(distance).toBeLessThan(1e-5 * Math.hypot(...gb));
      await packed.dispose();
      await dense.dispose();
    });
  }

  // Widened once in a small model, or a block at a time in a large one.
  it.each([
    ['dota', Infinity],
    ['dota', 0],
    ['lora', 0],
  ] as const)('%s: one block is dense at a time (residentLimit %d)', async (method, limit) => {
    /** Peaks of loading, of two steps and of what a dense engine of this depth holds. */
    const peaks = async (numLayers: number, quantized: boolean) => {
      const deep = { ...config, numLayers };
      const reader = watchedReader(deep, randomWeights(deep, 3));
      const { device, buffers } = watchedDevice(deep, openDevice({ kind: 'cpu', threads: 1 }));
      const adapters = await planFourBit(method, deep, randomWeights(deep, 3));
      const engine = await createEngine({
        ...common,
        config: deep,
        weights: reader,
        device,
        adapters,
        residentLimit: quantized ? limit : Infinity,
        ...(quantized && { quantization: { doubleQuantization: true } }),
      });
      const batch = randomBatch(deep, [9, 12, 7]);
      for (let step = 0; step < 2; step++) {
        await engine.forwardBackward(batch, 1 / batch.lossTokens);
        await engine.evaluate(batch);
      }
      await engine.dispose();
      return { loading: reader.buffers.peak, step: buffers.peak };
    };
    const block = denseBlockBytes(config);
    const largest = 4 * config.hiddenSize * config.intermediateSize;
    const two = await peaks(2, true);
    expect(two.loading).toBe(largest);
    expect(two.step).toBeGreaterThanOrEqual(largest);
    // The buffer that is used again has the block's two norms in it where they are widened as well.
    expect(two.step).toBeLessThanOrEqual(block + 2 * 4 * config.hiddenSize);
    // No more of a deeper model.
    expect(await peaks(6, true)).toEqual(two);
    // What is counted is there: an engine on dense weights holds those of every block.
    expect((await peaks(6, false)).step).toBe(6 * block);
  });

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
    const expanded = await expandedWeights(config, weights, adapters);
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
