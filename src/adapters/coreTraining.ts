/** Which cores of an MPO train, and how fast. */
import type { Core } from '../core/mpo/types';
import { sizeOf } from '../graph/shape';
import { DotaError } from '../protocol/errors';
import type { AdapterOptions } from './method';

export interface CoreTraining {
  trainable: boolean;
  learningRateFactor: number;
}

/**
 * @param shapes of the cores, in order
 * @param standard what `trainable_cores` means when it is absent
 * @throws DotaError `config.invalid` for indices that no core has, or when no core would train
 */
export function coreTraining(
  shapes: readonly Core['shape'][],
  options: Pick<AdapterOptions, 'trainable_cores' | 'core_learning_rate_factors'>,
  standard: 'all' | 'auxiliary' = 'all',
): CoreTraining[] {
  const chosen = options.trainable_cores ?? standard;
  const factors = options.core_learning_rate_factors ?? [];
  if (Array.isArray(chosen) && chosen.some((k) => k >= shapes.length)) {
    throw new DotaError(
      'config.invalid',
      `There are ${shapes.length} cores, numbered 0 to ${shapes.length - 1}; trainable_cores is ${chosen.join(', ')}.`,
      { where: 'adapter.trainable_cores', next: 'Name cores that exist, or raise mpo_cores.' },
    );
  }
  const central = centralCore(shapes);
  return shapes.map((_, k) => ({
    trainable: Array.isArray(chosen) ? chosen.includes(k) : trains(chosen, k === central),
    learningRateFactor: factors[k] ?? factors.at(-1) ?? 1,
  }));
}

function trains(chosen: 'all' | 'auxiliary' | 'central', isCentral: boolean): boolean {
  switch (chosen) {
    case 'all':
      return true;
    case 'auxiliary':
      return !isCentral;
    case 'central':
      return isCentral;
  }
}

/**
 * The central tensor in the sense of MPOP (Liu et al., arXiv 2106.02205): the core with the most
 * parameters, of equal ones the nearest to the middle of the chain.
 */
export function centralCore(shapes: readonly Core['shape'][]): number {
  const middle = (shapes.length - 1) / 2;
  const rank = (k: number): [number, number] => [-sizeOf(shapes[k] ?? []), Math.abs(k - middle)];
  return shapes
    .map((_, k) => k)
    .reduce((best, k) => {
      const [a, b] = [rank(k), rank(best)];
      return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]) ? k : best;
    }, 0);
}

/** Entries of the cores that train. */
export function trainableEntries(
  shapes: readonly Core['shape'][],
  training: readonly CoreTraining[],
): number {
  return shapes.reduce(
    (sum, shape, k) => sum + (training[k]?.trainable === true ? sizeOf(shape) : 0),
    0,
  );
}
