/** Fresh weights for pretraining from scratch. */
import { Rng } from '../../core/rng';
import { sizeOf } from '../../graph/shape';
import { expectedWeights } from '../../models/config';
import type { DecoderConfig } from '../../models/modelConfig';
import type { WeightReader } from './frozenWeights';

/**
 * Hugging Face's initialisation: matrices Gaussian with `initializer_range`, biases 0, norms 1; and
 * GPT-2's: what writes to the residual stream divided by sqrt(2 * layers), which keeps its scale
 * independent of the depth. Each read draws the tensor anew, from the same seed.
 */
export function randomWeights(config: DecoderConfig, seed: number): WeightReader {
  const residualScale = 1 / Math.sqrt(2 * config.numLayers);
  const shapes = expectedWeights(config);
  const values = (name: string, shape: readonly number[]): Float32Array => {
    const size = sizeOf(shape);
    const writesResidual = name.includes('o_proj') || name.includes('down_proj');
    const deviation = config.initializerRange * (writesResidual ? residualScale : 1);
    if (name.endsWith('.bias')) return new Float32Array(size);
    if (shape.length === 1) return new Float32Array(size).fill(1);
    return new Rng(seed, name).normals(size, deviation);
  };
  return {
    names: [...shapes.keys()],
    read: (name) => {
      const shape = shapes.get(name);
      if (!shape) return Promise.reject(new Error(`the model has no tensor "${name}"`));
      return Promise.resolve({ dtype: 'F32', shape, data: values(name, shape) });
    },
  };
}
