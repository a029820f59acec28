/** What the estimate counts from shapes, against the tensors that the methods and the optimizer hold. */
import { describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { planAdapters } from '../../../src/adapters/plan';
import { runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { estimateTraining, type TrainingEstimate } from '../../../src/estimate/estimateTraining';
import { sizeOf } from '../../../src/graph/shape';
import { readFloat32 } from '../../../src/trainer/engine/frozenWeights';
import { Moments8bit } from '../../../src/trainer/engine/moments8bit';
import { planParameters } from '../../../src/trainer/engine/parameterLayout';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { tinyConfig as config } from '../engine/tiny';

type Config = Pick<RunConfigInput, 'method' | 'adapter'>;

function estimate(run: Config, resident: boolean, optim?: 'adamw_8bit'): TrainingEstimate {
  const { method, adapter } = runConfigSchema.parse({ data: { train: 'x' }, ...run });
  return estimateTraining({
    ...{ config, method, adapter, bytesPerWeight: 2, batch: 1, sequence: 8, accumulation: 1 },
    ...{ recompute: false, residentLimit: resident ? Infinity : 0 },
    ...(optim && { optim }),
  });
}

function plan(run: Config) {
  const { method, adapter } = runConfigSchema.parse({ data: { train: 'x' }, ...run });
  const weights = randomWeights(config, 3);
  return planAdapters({
    ...{ method, config, options: adapter, seed: 1, gemm: plainGemm },
    weight: ({ path, outFeatures, inFeatures }) =>
      readFloat32(weights, { name: `${path}.weight`, shape: [outFeatures, inFeatures] }),
  });
}

const r = 3;
const runs: Config[] = [
  { method: 'dota', adapter: { r } },
  { method: 'dota', adapter: { r, residual: 'explicit' } },
  { method: 'dota', adapter: { r, trainable_cores: [1] } },
  { method: 'random_mpo', adapter: { r } },
  { method: 'random_mpo', adapter: { r, init_random: 'frozen_copy' } },
  { method: 'random_mpo', adapter: { r, init_random: 'frozen_copy', residual: 'explicit' } },
  { method: 'random_mpo', adapter: { r, init_random: 'plain', residual: 'explicit' } },
  { method: 'mpop', adapter: { r } },
  { method: 'loretta', adapter: { r, init_random: 'zero_core' } },
  { method: 'loretta', adapter: { r, init_random: 'frozen_copy' } },
  { method: 'loretta', adapter: { r, init_random: 'plain' } },
  { method: 'lora', adapter: { r } },
  { method: 'lora', adapter: { r, use_dora: true } },
  { method: 'lora', adapter: { r, init_lora_weights: 'pissa' } },
];

describe('the estimate of an adapter', () => {
  it.each(runs)(
    '$method $adapter: its tensors and what it takes out of the weights',
    async (run) => {
      const { modules } = await plan(run);
      for (const resident of [true, false]) {
        const { bytes, trainableParameters } = estimate(run, resident);
        let [all, trainable, residual] = [0, 0, 0];
        for (const module of modules.values()) {
          // A resident weight is a copy of the engine's own, from which the start is taken out.
          const adapter = (resident ? module.explicit?.() : undefined) ?? module;
          for (const tensor of adapter.tensors) {
            all += sizeOf(tensor.shape);
            if (tensor.trainable) trainable += sizeOf(tensor.shape);
          }
          const { outFeatures, inFeatures } = adapter.module;
          if (adapter.subtractsInitialDelta && !resident) residual += outFeatures * inFeatures;
        }
        expect(trainableParameters).toBe(trainable);
        expect(bytes.adapter).toBe(4 * all);
        expect(bytes.residual).toBe(4 * residual);
        expect(bytes.gradients).toBe(4 * trainable);
        expect(bytes.optimizer).toBe(8 * trainable);
      }
    },
  );

  it('counts moments in 8 bits', () => {
    const run: Config = { method: 'full' };
    const { first, second } = new Moments8bit(planParameters(config, fullPlan).tensors);
    const held = [first, second].reduce(
      (sum, { codes, absmax }) => sum + codes.byteLength + absmax.byteLength,
      0,
    );
    const { optimizer } = estimate(run, true, 'adamw_8bit').bytes;
    // The last block of each of these small tensors is not full.
    expect(optimizer / held).toBeGreaterThan(0.97);
    expect(optimizer / held).toBeLessThanOrEqual(1);
    expect(estimate(run, true).bytes.optimizer / held).toBeGreaterThan(3.8);
  });
});
