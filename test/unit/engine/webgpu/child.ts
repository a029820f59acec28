/**
 * Ten steps of DoTA and of full fine-tuning on the device named on the command line; prints loss and
 * gradient norm of each as JSON. A process of its own, because the software GPU is found through
 * environment variables that are read when the process starts.
 */
import { fullPlan } from '../../../../src/adapters/adapter';
import { planAdapters } from '../../../../src/adapters/plan';
import { runConfigSchema } from '../../../../src/config/runConfig';
import { plainGemm } from '../../../../src/core/linalg/plainGemm';
import { createEngine } from '../../../../src/trainer/engine/createEngine';
import { readFloat32 } from '../../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../../src/trainer/engine/randomWeights';
import type { DeviceKind } from '../../../../src/trainer/ort/device';
import { randomBatch, tinyConfig } from '../tiny';

const device = process.argv[2] as DeviceKind;
const config = { ...tinyConfig, queryKeyNorm: true, attentionBias: { qkv: true, o: false } };
const weights = randomWeights(config, 3);
const batch = randomBatch(config, [9, 12, 7]);
const { adapter } = runConfigSchema.parse({ data: { train: 'none' }, adapter: { r: 4 } });
const dotaPlan = await planAdapters({
  method: 'dota',
  config,
  options: adapter,
  seed: 5,
  gemm: plainGemm,
  weight: ({ path, outFeatures, inFeatures }) =>
    readFloat32(weights, { name: `${path}.weight`, shape: [outFeatures, inFeatures] }),
});

const report: Record<string, { loss: number; norm: number }[]> = {};
for (const [name, adapters] of Object.entries({ dota: dotaPlan, full: fullPlan })) {
  const engine = await createEngine({ config, weights, adapters, device, threads: 1 });
  const rows = [];
  // Full fine-tuning differs in which gradients are asked for; three steps show those.
  const steps = name === 'dota' ? 10 : 3;
  for (let step = 1; step <= steps; step++) {
    const { lossSum } = await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const norm = await engine.gradientNorm();
    rows.push({ loss: lossSum / batch.lossTokens, norm });
    await engine.optimizerStep(
      {
        step,
        learningRate: 1e-3,
        weightDecay: 0.1,
        adamBeta1: 0.9,
        adamBeta2: 0.999,
        adamEpsilon: 1e-8,
        maxGradNorm: 1,
      },
      norm,
    );
  }
  report[name] = rows;
  await engine.dispose();
}
console.log(JSON.stringify(report));
