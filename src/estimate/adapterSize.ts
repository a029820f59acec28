/** Numbers of one linear layer's adapter, from the configuration alone: nothing is decomposed. */
import type { LinearModule } from '../adapters/adapter';
import { loraRank } from '../adapters/lora';
import type { AdapterOptions } from '../adapters/method';
import { mpoSpec } from '../adapters/mpoShape';
import { adapterMethods } from '../adapters/plan';
import type { Method } from '../config/runConfig';
import { parameterCount } from '../core/mpo/shapes';

export interface AdapterSize {
  trainable: number;
  /** Frozen numbers beside the weight: cores at step 0 that are subtracted, and cores that do not train. */
  frozen: number;
  /** Whether a copy of the weight without the adapter's start is kept where weights are not resident. */
  storesResidual: boolean;
  /** Multiply-adds of forming the dense change once, 0 where it is never formed. */
  merge: number;
  /** Multiply-adds a token of the adapter's own path beside the dense product. */
  perToken: number;
}

/**
 * @param implicit whether W + MPO(A) - MPO(A0) is computed (weights that stay in the file's type)
 * @throws DotaError `adapter.shape`, `adapter.rank`
 */
export function adapterSize(
  method: Exclude<Method, 'full'>,
  module: LinearModule,
  options: AdapterOptions,
  implicit: boolean,
): AdapterSize {
  const { outFeatures, inFeatures } = module;
  const trainable = adapterMethods[method].trainableCount(module, options);
  switch (method) {
    case 'dota':
    case 'random_mpo':
    case 'mpop': {
      const { shape, bonds } = mpoSpec(module, options);
      const copied = implicit && leavesStart(method, options);
      const copies = copied ? 2 : 1;
      const all = parameterCount(shape, bonds);
      return {
        trainable,
        // A core that does not train is its own copy.
        frozen: copied ? all : all - trainable,
        storesResidual: options.residual === 'explicit' && leavesStart(method, options),
        // The last product, of the two halves, dominates: out x in entries, each a sum over a bond.
        merge: copies * outFeatures * inFeatures * Math.min(...bonds),
        perToken: 0,
      };
    }
    case 'lora': {
      const rank = loraRank(module, options);
      return {
        trainable,
        frozen: 0,
        storesResidual: options.init_lora_weights === 'pissa',
        merge: options.use_dora ? outFeatures * inFeatures * rank : 0,
        perToken: rank * (outFeatures + inFeatures),
      };
    }
    case 'loretta': {
      const matrices = loraRank(module, options) * (outFeatures + inFeatures);
      return {
        trainable,
        frozen: options.init_random === 'frozen_copy' ? trainable : 0,
        storesResidual: false,
        // Each entry of A and B is a sum over the last bond of its train.
        merge: matrices * options.tensor_rank,
        perToken: matrices,
      };
    }
  }
}

/** Whether the cores' product at step 0 has to be taken out: as a copy of them, or from the weight. */
function leavesStart(method: 'dota' | 'random_mpo' | 'mpop', options: AdapterOptions): boolean {
  switch (method) {
    case 'dota':
      return true;
    case 'random_mpo':
      return options.init_random === 'frozen_copy';
    case 'mpop':
      return false;
  }
}
