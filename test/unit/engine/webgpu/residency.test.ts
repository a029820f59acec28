import { beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import { expectedWeights } from '../../../../src/models/config';
import { tinyConfig } from '../tiny';
import { runOn } from './child';
import {
  type LoopMethod,
  loopMethods,
  type ResidencySample,
  stepsOfShape,
} from './residencySample';

interface Stored {
  lossSum: number;
  gradient: number[];
  bytesAtRest: number;
}

interface Report {
  BF16: Stored;
  F16: Stored;
  'BF16 left': number;
  'F16 left': number;
  samples: ResidencySample[];
}

const script = 'test/unit/engine/webgpu/residencyChild.ts';
const steps: Record<LoopMethod, number> = { random_mpo: 80, full: 60 };

describe.runIf(softwareGpuSupported)('what lies on a WebGPU device', () => {
  let cpu: Report;
  let gpu: Report;
  let loops: Record<LoopMethod, Report>;
  beforeAll(async () => {
    cpu = await runOn<Report>('cpu', script, ['2', 'random_mpo']);
    const looped = async (method: LoopMethod) => {
      return runOn<Report>('webgpu', script, [String(steps[method]), method]);
    };
    loops = { random_mpo: await looped('random_mpo'), full: await looped('full') };
    gpu = loops.random_mpo;
  }, 300_000);

  it.each(['BF16', 'F16'] as const)('is as narrow as in the file: %s', (dtype) => {
    const { lossSum, gradient, bytesAtRest } = gpu[dtype];
    // The forms are exact, so what remains is fp32 summed in another order.
    expect(Math.abs(lossSum / cpu[dtype].lossSum - 1)).toBeLessThan(1e-5);
    const scale = Math.max(...cpu[dtype].gradient.map(Math.abs));
    expect(scale).toBeGreaterThan(0);
    gradient.forEach((value, i) => {
      expect(Math.abs(value - cpu[dtype].gradient[i]!) / scale).toBeLessThan(1e-5);
    });
    const weights = [...expectedWeights({ ...tinyConfig, numLayers: 1 }).values()];
    const elements = weights.reduce((sum, shape) => sum + shape.reduce((a, n) => a * n, 1), 0);
    // Two bytes a weight, and the few numbers of the adapter with its moments in fp32.
    expect(bytesAtRest).toBeLessThan(2 * elements + 16 * gpu[dtype].gradient.length + 1024);
    expect(bytesAtRest).toBeGreaterThan(2 * elements);
  });

  it.each(loopMethods)('stays the same from step to step: %s', (method) => {
    const { samples } = loops[method];
    // From where both shapes have been there: each leaves its rotary tables.
    const settledFrom = stepsOfShape + 1;
    const [first, last] = [samples[settledFrom]!, samples.at(-1)!];
    expect(samples).toHaveLength(steps[method]);
    for (const { tensors, bytes } of samples.slice(settledFrom)) {
      expect({ tensors, bytes }).toEqual({ tensors: first.tensors, bytes: first.bytes });
    }
    // Pools fill in the first third; a leak of one hidden state a step would be unseen in RSS, but
    // not in the counts above. What RSS shows is a leak below them: 0.5 MB a step would be 20 to 27 MB.
    const settled = samples[Math.floor(steps[method] / 3)]!;
    expect(last.rss - settled.rss).toBeLessThan(20 * 2 ** 20);
  });

  it.each(loopMethods)(
    'has as many sessions whenever the same batches come again: %s',
    (method) => {
      const { samples } = loops[method];
      const period = 2 * stepsOfShape;
      expect(samples.length).toBeGreaterThan(2 * period);
      for (let i = 2 * period; i < samples.length; i++) {
        const [now, before] = [samples[i]!, samples[i - period]!];
        expect(now.sessions).toBe(before.sessions);
        // Each shape makes the other's graphs leave; without that there would be nothing to leak.
        expect(now.made - before.made).toBeGreaterThan(4);
      }
    },
  );

  it.each(loopMethods)('is all freed with the engine: %s', (method) => {
    expect(loops[method]['BF16 left']).toBe(0);
    expect(loops[method]['F16 left']).toBe(0);
  });
});
