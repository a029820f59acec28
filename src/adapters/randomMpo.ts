import { Rng } from '../core/rng';
import { sizeOf } from '../graph/shape';
import type { Core } from '../core/mpo/types';
import { coreTraining, trainableEntries } from './coreTraining';
import { weightCores } from './weightCores';
import type { LinearModule } from './adapter';
import type { AdapterMethod, AdapterOptions, AttachContext } from './method';
import { MpoAdapter, type ResidualForm } from './mpoAdapter';
import { coreShapes, mpoSpec } from './mpoShape';
import { checkMpoRank } from './rankLimit';

/**
 * The control that DoTA is compared with: Gaussian cores of the same shapes. The standard deviation
 * of each core is that of DoTA's, unless `init_std` sets one. Step 0 is the pretrained model because
 * the last trainable core is zero, or because a frozen copy of the start is subtracted (QuanTA, Chen
 * et al., arXiv 2406.00132).
 */
export const randomMpo: AdapterMethod = {
  help: 'The same tensor cores from random values: the control for the initialisation.',
  validate: checkMpoRank,
  async attach(module, context) {
    const { options, seed } = context;
    const { orientation } = options;
    const form = formOf(options);
    const known = context.initialCores?.(module);
    if (known) {
      const training = coreTraining(
        known.map(({ shape }) => shape),
        options,
      );
      return new MpoAdapter(module, known, { orientation, form, training });
    }
    const template = await templateCores(module, context);
    const training = coreTraining(
      template.map(({ shape }) => shape),
      options,
    );
    // A frozen zero core would keep the whole product at zero.
    const zero =
      options.init_random === 'zero_core'
        ? training.findLastIndex(({ trainable }) => trainable)
        : undefined;
    const cores = template.map(({ shape, std }, k): Core => {
      const random = new Rng(seed, `${module.path}.mpo_cores`, k);
      return { shape, data: random.normals(sizeOf(shape), k === zero ? 0 : std) };
    });
    return new MpoAdapter(module, cores, { orientation, form, training });
  },
  trainableCount(module, options) {
    const shapes = coreShapes(mpoSpec(module, options));
    return trainableEntries(shapes, coreTraining(shapes, options));
  },
};

function formOf({ init_random: start, residual }: AdapterOptions): ResidualForm {
  switch (start) {
    case 'frozen_copy':
      return residual;
    case 'zero_core':
    case 'plain':
      return 'none';
  }
}

async function templateCores(
  module: LinearModule,
  context: AttachContext,
): Promise<{ shape: Core['shape']; std: number }[]> {
  const { init_std: std } = context.options;
  if (std !== undefined) {
    return coreShapes(mpoSpec(module, context.options)).map((shape) => ({ shape, std }));
  }
  const cores = await weightCores(module, context);
  return cores.map(({ shape, data }) => ({ shape, std: rms(data) }));
}

function rms(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}
