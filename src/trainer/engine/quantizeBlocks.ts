/**
 * QDoTA and QLoRA: the matrices of the blocks in NF4. With DoTA what is quantised is the residual
 * W - MPO(A0); the cores come from the full-precision weight and stay in fp32.
 */
import { quantizeNf4, dequantizeNf4 } from '../../core/nf4';
import type { AdapterPlan } from '../../adapters/adapter';
import { linearModules } from '../../adapters/targets';
import type { DecoderConfig } from '../../models/modelConfig';
import { DotaError } from '../../protocol/errors';
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
}

/**
 * @throws DotaError `config.invalid` when the base weights train or an adapter needs them exact
 */
export async function quantizeBlocks(
  frozen: FrozenWeights,
  weights: WeightReader,
  config: DecoderConfig,
  plan: AdapterPlan,
  { doubleQuantization, onMeasured }: QuantizationOptions,
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
  let stored = 0;
  let plain = 0;
  let energy = 0;
  const modules = linearModules(config);
  for (const { path, outFeatures, inFeatures } of modules) {
    const name = `${path}.weight`;
    // The adapter restores exactly what was taken out of the weight, so the error of the model at
    // step 0 is the error of what is stored.
    stored += frozen.quantize(name, doubleQuantization).squaredError;
    if (onMeasured === undefined) continue;
    const weight = await readFloat32(weights, { name, shape: [outFeatures, inFeatures] });
    const restored = new Float32Array(weight.length);
    dequantizeNf4(quantizeNf4(weight, undefined, doubleQuantization), restored);
    const direct = squaredError(weight, restored);
    plain += direct.squaredError;
    energy += direct.energy;
  }
  onMeasured?.({
    relativeError: Math.sqrt(stored / energy),
    plainRelativeError: Math.sqrt(plain / energy),
    modules: modules.length,
  });
}
