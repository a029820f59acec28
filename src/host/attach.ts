/** Connects to the trainer of a run folder. */
import { DotaError } from '../protocol/errors';
import type { TrainerLink } from './runMonitor';

export function attachTrainer(folder: string): Promise<TrainerLink> {
  return Promise.reject(new DotaError('protocol.closed', 'No trainer answers.', { where: folder }));
}
