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
  /** Frozen numbers beside the weight: the initial cores of an implicit residual. */
  frozen: number;
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
      const copies = subtractsCopy(method, options, implicit) ? 2 : 1;
      return {
        trainable,
        frozen: copies * parameterCount(shape, bonds) - trainable,
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
        merge: options.use_dora ? outFeatures * inFeatures * rank : 0,
        perToken: rank * (outFeatures + inFeatures),
      };
    }
    case 'loretta': {
      const matrices = loraRank(module, options) * (outFeatures + inFeatures);
      return {
        trainable,
        frozen: options.init_random === 'zero_core' ? 0 : trainable,
        // Each entry of A and B is a sum over the last bond of its train.
        merge: matrices * options.tensor_rank,
        perToken: matrices,
      };
    }
  }
}

/** Whether a frozen copy of the initial cores is contracted beside the trained ones. */
function subtractsCopy(
  method: 'dota' | 'random_mpo' | 'mpop',
  options: AdapterOptions,
  implicit: boolean,
): boolean {
  switch (method) {
    case 'dota':
      return implicit;
    case 'random_mpo':
      return implicit && options.init_random !== 'zero_core';
    case 'mpop':
      return false;
  }
}
