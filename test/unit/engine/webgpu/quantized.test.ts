/** 4-bit weights on a WebGPU device (a software GPU) against dense ones there and on the CPU. */
import { beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import { linearPaths, linearShape } from '../../../../src/graph/decoder/block';
import { storedParts } from '../../../../src/graph/layers/storedWeight';
import { sizeOf } from '../../../../src/graph/shape';
import { denseBlockBytes } from '../watchedWeights';
import { runOn } from './child';
import { fourBitConfig as config, type FourBitRun } from './quantizedRuns';

type Report = Record<'dota' | 'lora', Record<'packed' | 'dense', FourBitRun>>;

const script = 'test/unit/engine/webgpu/quantizedChild.ts';
const shapes = linearPaths.map((path) => linearShape(config, path));
const storage = { form: 'nf4', blockSize: 64, doubleQuantized: true } as const;
/** Of a block's matrices as they are stored, by the layout's own shapes. */
const packedBlockBytes = shapes
  .flatMap((shape) => storedParts(shape, storage))
  .reduce((sum, { dtype, shape }) => sum + (dtype === 'uint8' ? 1 : 4) * sizeOf(shape), 0);

function distance(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  return Math.hypot(...a.map((value, i) => value - b[i]!)) / Math.hypot(...b);
}

describe.runIf(softwareGpuSupported)('4-bit weights on a WebGPU device', () => {
  let cpu: Report;
  let gpu: Report;
  beforeAll(async () => {
    cpu = await runOn<Report>('cpu', script);
    gpu = await runOn<Report>('webgpu', script);
  }, 300_000);

  it.each(['dota', 'lora'] as const)(
    '%s: loss and gradient equal those on the expanded dense weights, there and on the CPU',
    (method) => {
      const { packed } = gpu[method];
      // fp32 sums in another order, and W - MPO + MPO rounded once more in the dense checkpoint.
      for (const dense of [gpu[method].dense, cpu[method].dense]) {
        expect(Math.abs(packed.lossSum / dense.lossSum - 1)).toBeLessThan(1e-5);
        expect(distance(packed.gradient, dense.gradient)).toBeLessThan(1e-5);
      }
      expect(Math.hypot(...packed.gradient)).toBeGreaterThan(0.01);
    },
  );

  it.each(['dota', 'lora'] as const)('%s: no dense matrix lies there', (method) => {
    const { packed, dense } = gpu[method];
    expect(packed.denseOnDevice).toBe(0);
    expect(dense.denseOnDevice).toBe(7 * config.numLayers);
    // The engines differ in nothing else.
    expect(dense.bytesAtRest - packed.bytesAtRest).toBe(
      config.numLayers * (denseBlockBytes(config) - packedBlockBytes),
    );
    // Nor does a step leave any between its graphs, each of which widens one block at most.
    expect(packed.bytesOfStep).toBeLessThanOrEqual(dense.bytesOfStep);
    const padded = shapes.reduce((sum, shape) => sum + 4 * 64 * Math.ceil(sizeOf(shape) / 64), 0);
    expect(packed.widenedByOneGraph).toBeGreaterThan(0);
    expect(packed.widenedByOneGraph).toBeLessThanOrEqual(padded);
  });

  it.each(['dota', 'lora'] as const)('%s: the host has one of them while loading', (method) => {
    const { packed } = gpu[method];
    expect(packed.loadingPeak).toBe(4 * config.hiddenSize * config.intermediateSize);
    // Those that an adapter's start is subtracted from pass one at a time, too.
    expect(packed.densePeak).toBeLessThanOrEqual(packed.loadingPeak);
  });
});
