/** What the worker thread tells the main thread; nothing goes the other way but the control flags. */
import type { MessagePort, Worker } from 'node:worker_threads';
import type { Transport } from '../../protocol/channel';
import type { SerializedError } from '../../protocol/errors';
import type { RunManifest } from '../../protocol/runFiles';
import type { TrainerProgress } from '../../protocol/trainerMessages';
import type { NewRow } from '../../runs/journalWriter';

/** Fields of the manifest that only the worker can know. */
export type RunFacts = Partial<
  Pick<
    RunManifest,
    | 'fingerprint'
    | 'device'
    | 'model'
    | 'trainable'
    | 'quantization'
    | 'progress'
    | 'best'
    | 'last'
    | 'evaluation'
    | 'estimate'
    | 'microBatch'
    | 'recompute'
    | 'peakDeviceMb'
  >
>;

export type EndReason = 'finished' | 'early_stopping' | 'stopped';

export interface WorkerMessages {
  requests: {
    /** Answered once every row sent before is on the disk. @throws what appending them met */
    flush: { params: Record<string, never>; result: null };
  };
  events: {
    row: NewRow;
    facts: RunFacts;
    progress: TrainerProgress;
    log: { level: 'info' | 'warning'; text: string };
    ended: { reason: EndReason };
    failed: { error: SerializedError };
  };
}

/** The main thread sends nothing. */
export interface Silence {
  requests: Record<string, never>;
  events: Record<string, never>;
}

/** What the worker starts with. */
export interface WorkerData {
  runFolder: string;
  /** Folder of a verified checkpoint to continue from. */
  checkpoint: string | undefined;
  control: SharedArrayBuffer;
  /** Sequences at once, at most, where less than the configuration's was settled on. */
  microBatch: number | undefined;
}

/** A channel's transport over a thread's port. */
export function threadTransport(port: MessagePort | Worker): Transport {
  return {
    send(message) {
      port.postMessage(message);
    },
    onMessage(listener) {
      port.on('message', listener);
    },
    onClose(listener) {
      // A worker ends with `exit`, a port with `close`.
      port.on('exit' as 'close', () => {
        listener(undefined);
      });
      port.on('close', () => {
        listener(undefined);
      });
    },
    close() {
      if ('close' in port) port.close();
    },
  };
}
