/** QDoTA and QLoRA of the tiny model, and the dense checkpoint that they must agree with. */
import type { AdapterPlan } from '../../../src/adapters/adapter';
import type { AttachContext } from '../../../src/adapters/method';
import { planAdapters } from '../../../src/adapters/plan';
import { linearModules } from '../../../src/adapters/targets';
import { runConfigSchema, type Method } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { dequantizeNf4, quantizeNf4 } from '../../../src/core/nf4';
import { expectedWeights } from '../../../src/models/config';
import type { DecoderConfig, RawTensor } from '../../../src/models/modelConfig';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import {
  readFloat32,
  weightsFromMap,
  type WeightReader,
} from '../../../src/trainer/engine/frozenWeights';

/** With explicit residuals: what is stored in 4 bits is W - MPO(A0). */
export function planFourBit(
  method: Method,
  config: DecoderConfig,
  weights: WeightReader,
  {
    quantization,
    ...own
  }: { quantization?: AttachContext['quantization']; target_modules?: string[] } = {},
): Promise<AdapterPlan> {
  const { adapter } = runConfigSchema.parse({
    data: { train: 'x' },
    adapter: { r: 4, residual: 'explicit', init_lora_weights: 'gaussian', ...own },
  });
  return planAdapters({
    quantization,
    method,
    config,
    options: adapter,
    seed: 1,
    weight: ({ path, outFeatures, inFeatures }) =>
      readFloat32(weights, { name: `${path}.weight`, shape: [outFeatures, inFeatures] }),
    gemm: plainGemm,
  });
}

/**
 * The checkpoint on which a dense engine equals the 4-bit one: each matrix replaced by its expanded
 * NF4 residual plus what the adapter took out.
 */
export async function expandedWeights(
  config: DecoderConfig,
  weights: WeightReader,
  adapters: AdapterPlan,
): Promise<WeightReader> {
  const matrices = new Map(linearModules(config).map((m) => [`${m.path}.weight`, m.path]));
  const tensors = new Map<string, RawTensor>();
  const deltas = new DenseDeltas(1);
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
  await deltas.dispose();
  return weightsFromMap(tensors);
}
