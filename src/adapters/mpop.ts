import { coreTraining, trainableEntries } from './coreTraining';
import { weightCores } from './weightCores';
import type { AdapterMethod } from './method';
import { MpoAdapter } from './mpoAdapter';
import { coreShapes, mpoSpec } from './mpoShape';
import { checkMpoRank } from './rankLimit';

/**
 * MPOP (Liu et al., arXiv 2106.02205): the MPO stands in place of the weight, without a residual;
 * the central core is frozen and the auxiliary ones train. Below the full bond step 0 is therefore
 * not the pretrained model.
 */
export const mpop: AdapterMethod = {
  help: 'The truncated MPO in place of the weight, central core frozen: compression by MPOP.',
  validate: checkMpoRank,
  async attach(module, context) {
    const { orientation } = context.options;
    const cores = context.initialCores?.(module) ?? (await weightCores(module, context));
    const training = coreTraining(
      cores.map(({ shape }) => shape),
      context.options,
      'auxiliary',
    );
    return new MpoAdapter(module, cores, { orientation, form: 'replace', training });
  },
  trainableCount(module, options) {
    const shapes = coreShapes(mpoSpec(module, options));
    return trainableEntries(shapes, coreTraining(shapes, options, 'auxiliary'));
  },
};
