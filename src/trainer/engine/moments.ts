/** Saved optimizer moments: copied, and put back only where they fit. */
import type { BlockwiseMoment } from '../../core/blockwise8bit';
import { DotaError } from '../../protocol/errors';
import type { Moment } from '../engine';

export function copyOf(moment: BlockwiseMoment): BlockwiseMoment {
  return { codes: moment.codes.slice(), absmax: moment.absmax.slice() };
}

/** @throws DotaError `run.corrupt` where the two don't fit */
export function momentWrite(from: Moment, to: BlockwiseMoment): () => undefined {
  if (from instanceof Float32Array) throw wrongOptimizer();
  if (from.codes.length !== to.codes.length || from.absmax.length !== to.absmax.length) {
    throw wrongState(from.codes.length, to.codes.length);
  }
  return () => {
    to.codes.set(from.codes);
    to.absmax.set(from.absmax);
  };
}

export function wrongOptimizer(): DotaError {
  return new DotaError('run.corrupt', 'The saved optimizer state is of another optimizer.', {
    where: 'training.optim',
    next: 'Resume with the configuration that the checkpoint was made with.',
  });
}

export function wrongState(found: number, expected: number): DotaError {
  return new DotaError(
    'run.corrupt',
    `The saved state holds ${found} numbers; this model and adapter have ${expected}.`,
    { next: 'Resume with the configuration that the checkpoint was made with.' },
  );
}
