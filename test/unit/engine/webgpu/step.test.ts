/** What a step on a WebGPU device (a software GPU) computes there, holds there and hands back. */
import { beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import { tinyConfig } from '../tiny';
import { runOn } from './child';
import { stepLengths, type StepReport } from './stepReport';

describe.runIf(softwareGpuSupported)('a step on a WebGPU device', () => {
  let cpu: StepReport;
  let gpu: StepReport;
  beforeAll(async () => {
    const script = 'test/unit/engine/webgpu/stepChild.ts';
    cpu = await runOn<StepReport>('cpu', script);
    gpu = await runOn<StepReport>('webgpu', script);
  }, 300_000);

  it('leaves nothing to the CPU: an operator without a kernel is refused', () => {
    expect(cpu.sign).toEqual({ values: [-1, 0, 1] });
    expect(gpu.sign.values).toBeUndefined();
    expect(gpu.sign.error).toMatchObject({
      code: 'device.unavailable',
      message: expect.stringMatching(/fallback to CPU .*disabled/) as string,
    });
  });

  it('keeps for its backward pass what an evaluation does not', () => {
    const [shallow, deep] = gpu.memory as [(typeof gpu.memory)[0], (typeof gpu.memory)[0]];
    const layers = deep.numLayers - shallow.numLayers;
    const hidden = 4 * stepLengths[0].length * 12 * tinyConfig.hiddenSize;
    expect(shallow.evaluation).toBeGreaterThan(hidden);
    // Beside the batch's masks and tables, a block's input and output, whatever the depth.
    expect(deep.evaluation).toBe(shallow.evaluation);
    expect(shallow.step).toBeGreaterThan(shallow.evaluation);
    // Of each block its input, q, k, v, attention's result and the MLP's two branches: 7.3 hidden
    // states of this model, of which some may be cheap enough to compute again.
    expect(deep.step - shallow.step).toBeGreaterThan(layers * 4 * hidden);
  });

  it('hands back a loss for each micro-batch and the norm of the gradient, after all passes', () => {
    expect(gpu.passes.fetched).toEqual([]);
    expect(gpu.step.fetched).toEqual([...stepLengths.map(() => 1), 1]);
    expect(gpu.evaluation.fetched).toEqual([1]);
  });

  it('takes ids, positions, labels and scalars', () => {
    const tokens = stepLengths.flat().length * 12;
    // Ids, positions and segments of each token; rows, labels and weights of each that has a loss. Some
    // tens of scalars besides, which are fed to each layer's update.
    expect(gpu.step.fed).toBeGreaterThan(3 * tokens);
    expect(gpu.step.fed).toBeLessThan(6 * tokens + 100);
    expect(gpu.parameters).toBeGreaterThan(0);
  });
});
