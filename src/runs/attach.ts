/**
 * The observer's end: finds the trainer of a run, checks that it is what it claims, and controls it.
 * Used by the editor and by `dota runs stop` alike.
 */
import { connect, type Socket } from 'node:net';
import { Channel } from '../protocol/channel';
import { DotaError, type SerializedError } from '../protocol/errors';
import type { RunState, TrainerCommand } from '../protocol/runFiles';
import {
  validTrainerMessage,
  type ObserverMessages,
  type TrainerMessages,
  type TrainerProgress,
  type TrainerStatus,
} from '../protocol/trainerMessages';
import { writeCommand } from './commandFile';
import { checkLiveness, type Liveness } from './liveness';
import { proofOf, randomHex, sameProof, type OwnerRecord } from './ownerRecord';
import { processStart } from './processIdentity';
import { socketTransport } from './socketTransport';
import type { RunFolder } from './runFolder';

const connectMs = 2000;
const answerMs = 3000;

export interface ObserverListeners {
  onJournal?: (bytes: number) => void;
  onProgress?: (progress: TrainerProgress) => void;
  onState?: (state: RunState, error: SerializedError | undefined) => void;
  /** The connection ended: the trainer did, or it broke. */
  onClose?: () => void;
}

/** A trainer that can be controlled. */
export interface TrainerControl {
  /** `file`: no events come, requests go through `command.json` and have no answer. */
  readonly via: 'socket' | 'file';
  readonly pid: number;
  /** What the trainer said when it was attached to. */
  readonly status: TrainerStatus | undefined;
  /**
   * Asks the trainer to stop with a checkpoint, to pause or to go on.
   * @throws DotaError `protocol.timeout`, `protocol.closed`
   */
  send(command: TrainerCommand): Promise<void>;
  dispose(): void;
}

export type Attachment =
  | { kind: 'attached'; control: TrainerControl }
  /** The process lives but does not answer on its socket; `forceStop` may end it. */
  | { kind: 'unresponsive'; error: DotaError; pid: number }
  | Exclude<Liveness, { kind: 'alive' }>;

/** Finds the trainer of a run and connects to it; nothing is signalled. */
export async function attachToRun(
  folder: RunFolder,
  listeners: ObserverListeners = {},
): Promise<Attachment> {
  const liveness = await checkLiveness(folder);
  if (liveness.kind !== 'alive') return liveness;
  const { record } = liveness;
  if (record.socket === '') return { kind: 'attached', control: fileControl(folder, record) };
  try {
    return { kind: 'attached', control: await socketControl(folder, record, listeners) };
  } catch (cause) {
    // It may have ended between the look and the call.
    const now = await checkLiveness(folder);
    if (now.kind !== 'alive') return now;
    const error =
      cause instanceof DotaError
        ? cause
        : new DotaError('protocol.closed', 'The trainer cannot be reached.', { cause });
    return { kind: 'unresponsive', error, pid: record.pid };
  }
}

/**
 * Ends a trainer that no longer answers. Only a process is signalled whose number and start time
 * stand in the user's own record of this very run.
 * @throws DotaError `run.state` when there is none
 */
export async function forceStop(folder: RunFolder): Promise<void> {
  const liveness = await checkLiveness(folder);
  if (liveness.kind !== 'alive') {
    throw new DotaError('run.state', 'No trainer of yours owns this run.', { where: folder.path });
  }
  const { pid, processStart: start } = liveness.record;
  // An empty start time proves nothing about who has the number now.
  if (start === '' || (await processStart(pid)) !== start) return;
  process.kill(pid, 'SIGKILL');
}

async function socketControl(
  folder: RunFolder,
  record: OwnerRecord,
  listeners: ObserverListeners,
): Promise<TrainerControl> {
  const socket = await open(record.socket);
  const channel = new Channel<ObserverMessages, TrainerMessages>(
    socketTransport(socket),
    {
      requests: {},
      events: {
        journal: ({ bytes }) => listeners.onJournal?.(bytes),
        progress: (progress) => listeners.onProgress?.(progress),
        state: ({ state, error }) => listeners.onState?.(state, error),
      },
    },
    {
      validate: validTrainerMessage,
      requestTimeout: answerMs,
      onClose: () => listeners.onClose?.(),
    },
  );
  try {
    const challenge = randomHex(32);
    const hello = await channel.request('hello', { challenge });
    const proven = sameProof(String(hello.proof), proofOf(record.nonce, 'trainer', challenge));
    if (!proven || hello.pid !== record.pid || hello.runId !== folder.id) {
      throw new DotaError('protocol.invalid', 'Something else answers on the trainer’s socket.');
    }
    const status = await channel.request('authenticate', {
      proof: proofOf(record.nonce, 'observer', String(hello.challenge)),
    });
    return {
      via: 'socket',
      pid: record.pid,
      status,
      async send(command) {
        await channel.request(command, {});
      },
      dispose() {
        channel.dispose();
      },
    };
  } catch (error) {
    channel.dispose();
    throw error;
  }
}

function fileControl(folder: RunFolder, record: OwnerRecord): TrainerControl {
  return {
    via: 'file',
    pid: record.pid,
    status: undefined,
    send: (command) => writeCommand(folder, command),
    dispose: () => undefined,
  };
}

function open(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    const timer = setTimeout(() => {
      socket.destroy(new DotaError('protocol.timeout', 'The trainer’s socket does not answer.'));
    }, connectMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}
