/**
 * QDoTA and QLoRA: the matrices of the blocks in NF4. With DoTA what is quantised is the residual
 * W - MPO(A0); the cores come from the full-precision weight and stay in fp32.
 */
import { dequantizeNf4, quantizeNf4, type Nf4Tensor } from '../../core/nf4';
import type { AdapterPlan, LinearModule } from '../../adapters/adapter';
import { linearModules } from '../../adapters/targets';
import type { DecoderConfig } from '../../models/modelConfig';
import { DotaError } from '../../protocol/errors';
import { releaseArray } from '../ort/releaseArray';
import { DenseDeltas } from './denseDeltas';
import { readFloat32, squaredError, type FrozenWeights, type WeightReader } from './frozenWeights';

/** How far the step-0 model is from the full-precision one, over all quantised matrices. */
export interface QuantizationError {
  /** ||W - (W_stored + adapter at step 0)||_F / ||W||_F. */
  relativeError: number;
  /** The same for NF4 applied to W itself: what a plain 4-bit base would lose. */
  plainRelativeError: number;
  modules: number;
}

export interface QuantizationOptions {
  doubleQuantization: boolean;
  onMeasured?: (error: QuantizationError) => void;
  /** Matrices that are in 4 bits already (then nothing is measured). */
  stored?: ((module: LinearModule) => Nf4Tensor) | undefined;
}

/** Names of the matrices that `quantizeBlocks` stores: they need not be loaded otherwise. */
export function quantizedNames(config: DecoderConfig): Set<string> {
  return new Set(linearModules(config).map(({ path }) => `${path}.weight`));
}

/**
 * Reads, quantises and drops one matrix after the other, so that the dense weights are never all in
 * memory.
 * @throws DotaError `config.invalid` when the base weights train
 */
export async function quantizeBlocks(
  frozen: FrozenWeights,
  weights: WeightReader,
  config: DecoderConfig,
  plan: AdapterPlan,
  threads: number,
  { doubleQuantization, onMeasured, stored: known }: QuantizationOptions,
): Promise<void> {
  if (plan.trainsBaseWeights) {
    throw new DotaError(
      'config.invalid',
      'Full fine-tuning trains the weights: they cannot be 4-bit.',
      {
        next: 'Choose another method or switch load_in_4bit off.',
      },
    );
  }
  const modules = linearModules(config);
  if (known) {
    for (const module of modules) frozen.store(`${module.path}.weight`, known(module));
    return;
  }
  let stored = 0;
  let plain = 0;
  let energy = 0;
  let restored = new Float32Array(0);
  const errorOf = (tensor: Nf4Tensor, of: Float32Array): ReturnType<typeof squaredError> => {
    if (restored.length < of.length) {
      releaseArray(restored);
      restored = new Float32Array(of.length);
    }
    const view = restored.subarray(0, of.length);
    dequantizeNf4(tensor, view);
    return squaredError(of, view);
  };
  const deltas = new DenseDeltas(threads);
  try {
    for (const { path, outFeatures, inFeatures } of modules) {
      const name = `${path}.weight`;
      const weight = await readFloat32(weights, { name, shape: [outFeatures, inFeatures] });
      const adapter = plan.modules.get(path);
      const residual =
        adapter?.subtractsInitialDelta === true ? await deltas.residual(adapter, weight) : weight;
      const tensor = quantizeNf4(residual, undefined, doubleQuantization);
      frozen.store(name, tensor);
      if (onMeasured !== undefined) {
        // The adapter restores exactly what was taken out of the weight, so the error of the model at
        // step 0 is the error of what is stored.
        const own = errorOf(tensor, residual);
        stored += own.squaredError;
        const direct =
          residual === weight
            ? own
            : errorOf(quantizeNf4(weight, undefined, doubleQuantization), weight);
        plain += direct.squaredError;
        energy += direct.energy;
      }
      if (residual !== weight) releaseArray(residual);
      releaseArray(weight);
    }
  } finally {
    await deltas.dispose();
    releaseArray(restored);
  }
  onMeasured?.({
    relativeError: Math.sqrt(stored / energy),
    plainRelativeError: Math.sqrt(plain / energy),
    modules: modules.length,
  });
}
