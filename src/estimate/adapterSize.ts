/** Numbers of one linear layer's adapter, from the configuration alone: nothing is decomposed. */
import type { LinearModule } from '../adapters/adapter';
import type { AdapterOptions } from '../adapters/method';
import { mpoSpec } from '../adapters/mpoShape';
import { matchPattern } from '../adapters/targets';
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
  switch (method) {
    case 'dota':
    case 'random_mpo': {
      const { shape, bonds } = mpoSpec(module, options);
      const trainable = parameterCount(shape, bonds);
      const copies = method === 'dota' && implicit ? 2 : 1;
      return {
        trainable,
        frozen: (copies - 1) * trainable,
        // The last product, of the two halves, dominates: out x in entries, each a sum over a bond.
        merge: copies * outFeatures * inFeatures * Math.min(...bonds),
        perToken: 0,
      };
    }
    case 'lora': {
      const rank =
        matchPattern(options.rank_pattern, module.path, 'rank_pattern')?.value ?? options.r;
      const trainable = rank * (outFeatures + inFeatures);
      return {
        trainable: trainable + (options.use_dora ? outFeatures : 0),
        frozen: 0,
        merge: options.use_dora ? outFeatures * inFeatures * rank : 0,
        perToken: trainable,
      };
    }
  }
}
