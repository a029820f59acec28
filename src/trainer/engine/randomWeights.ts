/** Fresh weights for pretraining from scratch. */
import { Rng } from '../../core/rng';
import { sizeOf } from '../../graph/shape';
import { expectedWeights } from '../../models/config';
import type { DecoderConfig, RawTensor } from '../../models/modelConfig';
import { type WeightReader, weightsFromMap } from './frozenWeights';

/**
 * Hugging Face's initialisation: matrices Gaussian with `initializer_range`, biases 0, norms 1; and
 * GPT-2's: what writes to the residual stream divided by sqrt(2 * layers), which keeps its scale
 * independent of the depth.
 */
export function randomWeights(config: DecoderConfig, seed: number): WeightReader {
  const residualScale = 1 / Math.sqrt(2 * config.numLayers);
  const tensors = [...expectedWeights(config)].map(([name, shape]): [string, RawTensor] => {
    const size = sizeOf(shape);
    const writesResidual = name.includes('o_proj') || name.includes('down_proj');
    const deviation = config.initializerRange * (writesResidual ? residualScale : 1);
    const data = name.endsWith('.bias')
      ? new Float32Array(size)
      : shape.length === 1
        ? new Float32Array(size).fill(1)
        : new Rng(seed, name).normals(size, deviation);
    return [name, { dtype: 'F32', shape, data }];
  });
  return weightsFromMap(new Map(tensors));
}
