/** Connects the run monitor to trainers, with the handshake of src/runs. */
import type { TrainerProgress } from '../protocol/trainerMessages';
import { attachToRun } from '../runs/attach';
import { runFolder } from '../runs/runFolder';
import type { TrainerLink } from './runMonitor';

/**
 * Connects to the trainer that owns a run.
 * @throws DotaError when it does not answer; undefined when there is none of ours
 */
export async function attachTrainer(folder: string): Promise<TrainerLink | undefined> {
  let changed: (() => void) | undefined;
  let closed: (() => void) | undefined;
  let progress: TrainerProgress | undefined;
  const notify = (): void => changed?.();
  const attachment = await attachToRun(runFolder(folder), {
    onJournal: notify,
    onProgress: (latest) => {
      progress = latest;
      notify();
    },
    onState: notify,
    onClose: () => closed?.(),
  });
  switch (attachment.kind) {
    case 'attached': {
      const { control } = attachment;
      return {
        send: (command) => control.send(command),
        progress: () => progress ?? control.status?.progress,
        onChange: (callback) => {
          changed = callback;
        },
        onClose: (callback) => {
          closed = callback;
        },
        dispose: () => {
          control.dispose();
        },
      };
    }
    case 'unresponsive':
      throw attachment.error;
    case 'none':
    case 'unknown':
    case 'dead':
      return undefined;
  }
}
