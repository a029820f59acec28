import { decompose } from '../core/mpo/decompose';
import type { Core } from '../core/mpo/types';
import type { LinearModule } from './adapter';
import type { AdapterMethod, AttachContext } from './method';
import { MpoAdapter } from './mpoAdapter';
import { mpoSpec } from './mpoShape';
import { checkMpoRank } from './rankLimit';

/** Cores of the truncated MPO of the pretrained weight: A0. */
export async function initialCores(
  module: LinearModule,
  context: AttachContext,
): Promise<readonly Core[]> {
  const known = context.initialCores?.(module);
  if (known) return known;
  const { options, gemm, seed } = context;
  const { shape, bonds } = mpoSpec(module, options);
  const { mpo } = await decompose(
    await context.weight(module),
    module.outFeatures,
    module.inFeatures,
    { shape, rank: { r: bonds }, orientation: options.orientation, gauge: options.gauge, seed },
    gemm,
  );
  return mpo.cores;
}

/**
 * DoTA (Hu et al., arXiv 2412.20891): the trainable cores start as the MPO of the pretrained weight
 * and the residual W - MPO(A0) is frozen, so step 0 is the pretrained model.
 */
export const dota: AdapterMethod = {
  help: 'Tensor cores that start from the pretrained weight; the residual is frozen.',
  validate: checkMpoRank,
  async attach(module, context) {
    const { orientation, residual } = context.options;
    return new MpoAdapter(module, await initialCores(module, context), orientation, residual);
  },
};
