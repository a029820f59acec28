/**
 * Cores for a residual that will be stored in 4 bits, by alternation (LoftQ, Li et al., arXiv
 * 2310.08659; QPiSSA, Meng et al., arXiv 2404.02948): decompose W, quantise the residual, decompose
 * what the 4-bit matrix leaves of W, and so on. Each round's cores may take up what the last round's
 * quantisation lost.
 */
import { mpoDense } from '../core/mpo/contract';
import type { Core } from '../core/mpo/types';
import { dequantizeNf4, quantizeNf4 } from '../core/nf4';
import type { LinearModule } from './adapter';
import { decomposeFor } from './weightCores';
import type { AttachContext } from './method';

/**
 * @returns the cores of the round whose step-0 error ||W - (NF4(W - MPO(A)) + MPO(A))||_F is the
 *   smallest: later rounds are not always better
 */
export async function alternatingCores(
  module: LinearModule,
  context: AttachContext,
  { doubleQuantization, rounds }: NonNullable<AttachContext['quantization']>,
): Promise<readonly Core[]> {
  const { outFeatures, inFeatures } = module;
  const weight = await context.weight(module);
  const stored = new Float32Array(weight.length);
  let target = weight;
  let best: { cores: readonly Core[]; error: number } | undefined;
  for (let round = 0; round < rounds; round++) {
    const { mpo } = await decomposeFor(module, target, context);
    const { orientation } = context.options;
    const dense = await mpoDense(mpo.cores, outFeatures, inFeatures, orientation, context.gemm);
    const residual = weight.map((value, i) => value - (dense[i] as number));
    dequantizeNf4(quantizeNf4(residual, undefined, doubleQuantization), stored);
    // The cores give back exactly what was taken out: the error is that of the residual.
    let error = 0;
    residual.forEach((value, i) => (error += (value - (stored[i] as number)) ** 2));
    if (best === undefined || error < best.error) best = { cores: mpo.cores, error };
    target = weight.map((value, i) => value - (stored[i] as number));
  }
  return best?.cores ?? [];
}
