import { Rng } from '../core/rng';
import { sizeOf } from '../graph/shape';
import type { Core } from '../core/mpo/types';
import { initialCores } from './dota';
import type { AdapterMethod } from './method';
import { MpoAdapter } from './mpoAdapter';
import { mpoSpec } from './mpoShape';
import { checkMpoRank } from './rankLimit';

/**
 * The control that DoTA is compared with: cores of the same shapes, Gaussian except for the last,
 * which is zero, so that step 0 is the pretrained model here too. The standard deviation of each
 * core is that of DoTA's, unless `init_std` sets one.
 */
export const randomMpo: AdapterMethod = {
  help: 'The same tensor cores from random values: the control for the initialisation.',
  validate: checkMpoRank,
  async attach(module, context) {
    const { options, seed } = context;
    const known = context.initialCores?.(module);
    if (known) return new MpoAdapter(module, known, options.orientation, 'none');
    const template =
      options.init_std === undefined
        ? (await initialCores(module, context)).map(({ shape, data }) => ({
            shape,
            std: rms(data),
          }))
        : coreShapes(mpoSpec(module, options)).map((shape) => ({ shape, std: options.init_std }));
    const cores = template.map(({ shape, std = 0 }, k): Core => {
      const random = new Rng(seed, `${module.path}.mpo_cores`, k);
      const last = k === template.length - 1;
      return { shape, data: random.normals(sizeOf(shape), last ? 0 : std) };
    });
    return new MpoAdapter(module, cores, options.orientation, 'none');
  },
};

function coreShapes({ shape, bonds }: ReturnType<typeof mpoSpec>): Core['shape'][] {
  return shape.rows.map((rows, k) => [bonds[k - 1] ?? 1, rows, shape.cols[k] ?? 1, bonds[k] ?? 1]);
}

function rms(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}
