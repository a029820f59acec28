/** Numbers of one linear layer's adapter, from the configuration alone: nothing is decomposed. */
import type { LinearModule } from '../adapters/adapter';
import type { AdapterOptions } from '../adapters/method';
import { mpoSpec } from '../adapters/mpoShape';
import { adapterMethods } from '../adapters/plan';
import type { Method } from '../config/runConfig';

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
  const trainable = adapterMethods[method].trainableCount(module, options);
  const { outFeatures, inFeatures } = module;
  switch (method) {
    case 'dota':
    case 'random_mpo':
    case 'mpop': {
      const { bonds } = mpoSpec(module, options);
      const copies = method === 'dota' && implicit ? 2 : 1;
      return {
        trainable,
        frozen: (copies - 1) * trainable,
        // The last product, of the two halves, dominates: out x in entries, each a sum over a bond.
        merge: copies * outFeatures * inFeatures * Math.min(...bonds),
        perToken: 0,
      };
    }
    case 'lora':
    case 'loretta': {
      // LoRETTA's tensor trains are contracted to LoRA's two matrices first.
      const narrow = options.r * (outFeatures + inFeatures);
      return {
        trainable,
        frozen: 0,
        merge: options.use_dora ? outFeatures * inFeatures * options.r : 0,
        perToken: method === 'lora' ? trainable : narrow,
      };
    }
  }
}
