import type { Core, Decomposition } from '../core/mpo/types';
import { DotaError } from '../protocol/errors';
import type { LinearModule } from './adapter';
import { alternatingCores } from './alternatingCores';
import { coreTraining, trainableEntries } from './coreTraining';
import type { AdapterMethod, AttachContext } from './method';
import { MpoAdapter } from './mpoAdapter';
import { decomposeFor, weightCores } from './weightCores';
import { coreShapes, mpoSpec } from './mpoShape';
import { checkMpoRank } from './rankLimit';

/** A0: what `init_weights` says, or what a resumed run began with. */
async function initialCores(
  module: LinearModule,
  context: AttachContext,
): Promise<readonly Core[]> {
  const known = context.initialCores?.(module);
  if (known) return known;
  const { init_weights: kind } = context.options;
  switch (kind) {
    case 'mpo':
      return context.quantization !== undefined && context.quantization.rounds > 1
        ? alternatingCores(module, context, context.quantization)
        : weightCores(module, context);
    case 'gradient':
      return gradientCores(module, context);
  }
}

/**
 * The MPO of the full weight's gradient (the idea of LoRA-GA, Wang et al., arXiv 2407.05000, for an
 * MPO). The gradient's size says nothing about the weight's, so the cores are scaled until
 * ||MPO(A0)||_F is what it is for the MPO of the weight: both starts move alike under Adam.
 */
async function gradientCores(
  module: LinearModule,
  context: AttachContext,
): Promise<readonly Core[]> {
  if (!context.gradient) {
    throw new DotaError('config.invalid', 'Gradients are only accumulated when training starts.', {
      where: 'adapter.init_weights',
      next: 'Start a run, or start from the weight (init_weights "mpo").',
    });
  }
  const gradient = await context.gradient(module);
  if (!gradient.every(Number.isFinite)) {
    throw new DotaError('train.nonFinite', `The gradient of ${module.path} is not finite.`, {
      next: 'Check the data, or start from the weight (init_weights "mpo").',
    });
  }
  const own = await decomposeFor(module, gradient, context);
  const norm = ({ energy, keptEnergy }: Decomposition): number => Math.sqrt(energy * keptEnergy);
  if (!(norm(own) > 0)) {
    throw new DotaError('config.invalid', `The gradient of ${module.path} is zero.`, {
      where: 'adapter.init_weights',
      next: 'Raise init_gradient_batches, leave the module out, or start from the weight.',
    });
  }
  const target = norm(await decomposeFor(module, await context.weight(module), context));
  const { cores } = own.mpo;
  const factor = (target / norm(own)) ** (1 / cores.length);
  return cores.map(({ shape, data }) => ({ shape, data: data.map((value) => factor * value) }));
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
    const cores = await initialCores(module, context);
    const training = coreTraining(
      cores.map(({ shape }) => shape),
      context.options,
    );
    return new MpoAdapter(module, cores, { orientation, form: residual, training });
  },
  trainableCount(module, options) {
    const shapes = coreShapes(mpoSpec(module, options));
    return trainableEntries(shapes, coreTraining(shapes, options));
  },
};
