/** Decompositions with a run's shape, bonds and gauge. */
import { decompose } from '../core/mpo/decompose';
import type { Core, Decomposition } from '../core/mpo/types';
import type { LinearModule } from './adapter';
import type { AttachContext } from './method';
import { mpoSpec } from './mpoShape';

/** The MPO of a matrix of the module's size, with the configured shape, bonds and gauge. */
export function decomposeFor(
  module: LinearModule,
  matrix: Float32Array,
  { options, gemm, seed }: AttachContext,
): Promise<Decomposition> {
  const { shape, bonds } = mpoSpec(module, options);
  const { orientation, gauge } = options;
  return decompose(
    matrix,
    module.outFeatures,
    module.inFeatures,
    { shape, rank: { r: bonds }, orientation, gauge, seed },
    gemm,
  );
}

/** Cores of the truncated MPO of the pretrained weight. */
export async function weightCores(
  module: LinearModule,
  context: AttachContext,
): Promise<readonly Core[]> {
  return (await decomposeFor(module, await context.weight(module), context)).mpo.cores;
}
