/** The trainer's end of the control socket: proves itself, then takes requests and sends events. */
import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { Channel } from '../protocol/channel';
import { DotaError, type SerializedError } from '../protocol/errors';
import type { RunState } from '../protocol/runFiles';
import {
  validObserverMessage,
  type ObserverMessages,
  type TrainerMessages,
  type TrainerProgress,
  type TrainerStatus,
} from '../protocol/trainerMessages';
import { proofOf, randomHex, sameProof } from './ownerRecord';
import { socketTransport } from './socketTransport';
import { userFolder } from './userFolder';

// macOS cuts socket paths at 104 bytes, Linux at 108, both silently.
const maxSocketPathBytes = 100;
const authenticationMs = 5000;
const maxObservers = 32;

/** What the trainer does for its observers. */
export interface ControlHandlers {
  status(): TrainerStatus;
  stop(): void;
  pause(): void;
  resume(): void;
}

type ObserverChannel = Channel<TrainerMessages, ObserverMessages>;

/** A fresh socket path in the per-user folder, '' where it would be too long to work. */
export async function newSocketPath(): Promise<string> {
  if (process.platform === 'win32') return `\\\\.\\pipe\\dota-${randomHex(16)}`;
  const socket = path.join(await userFolder(), `${randomHex(6)}.sock`);
  return Buffer.byteLength(socket) <= maxSocketPathBytes ? socket : '';
}

export class ControlServer {
  readonly #server: Server;
  readonly #socketPath: string;
  readonly #nonce: string;
  readonly #handlers: ControlHandlers;
  /** Observers that have authenticated. */
  readonly #observers = new Set<ObserverChannel>();
  readonly #channels = new Set<ObserverChannel>();

  private constructor(socketPath: string, nonce: string, handlers: ControlHandlers) {
    this.#socketPath = socketPath;
    this.#nonce = nonce;
    this.#handlers = handlers;
    this.#server = createServer((socket) => {
      this.#accept(socket);
    });
  }

  /**
   * Listens at `socketPath`.
   * @returns undefined where the system allows no socket there; the command file then serves
   */
  static async listen(
    socketPath: string,
    nonce: string,
    handlers: ControlHandlers,
  ): Promise<ControlServer | undefined> {
    if (socketPath === '') return undefined;
    const control = new ControlServer(socketPath, nonce, handlers);
    return new Promise((resolve) => {
      control.#server.once('error', () => {
        resolve(undefined);
      });
      control.#server.listen(socketPath, () => {
        resolve(control);
      });
    });
  }

  journal(bytes: number): void {
    for (const observer of this.#observers) observer.notify('journal', { bytes });
  }

  progress(progress: TrainerProgress): void {
    for (const observer of this.#observers) observer.notify('progress', progress);
  }

  state(state: RunState, error?: SerializedError): void {
    const payload = error === undefined ? { state } : { state, error };
    for (const observer of this.#observers) observer.notify('state', payload);
  }

  async close(): Promise<void> {
    for (const channel of this.#channels) channel.dispose();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
    if (process.platform !== 'win32') await rm(this.#socketPath, { force: true });
  }

  #accept(socket: Socket): void {
    if (this.#channels.size >= maxObservers) {
      socket.destroy();
      return;
    }
    const challenge = randomHex(32);
    const { status, stop, pause, resume } = this.#handlers;
    const whenKnown = (act: () => void): TrainerStatus => {
      if (!this.#observers.has(channel)) {
        throw new DotaError('protocol.invalid', 'Authenticate first.');
      }
      act();
      return status();
    };
    const channel: ObserverChannel = new Channel(
      socketTransport(socket),
      {
        requests: {
          hello: (params) => ({
            runId: status().runId,
            pid: process.pid,
            proof: proofOf(this.#nonce, 'trainer', params.challenge),
            challenge,
          }),
          authenticate: ({ proof }) => {
            if (!sameProof(proof, proofOf(this.#nonce, 'observer', challenge))) {
              throw new DotaError('protocol.invalid', 'The proof is wrong.');
            }
            clearTimeout(timer);
            this.#observers.add(channel);
            return status();
          },
          status: () => whenKnown(() => undefined),
          stop: () => whenKnown(stop),
          pause: () => whenKnown(pause),
          resume: () => whenKnown(resume),
        },
        events: {},
      },
      {
        validate: validObserverMessage,
        onClose: () => {
          clearTimeout(timer);
          this.#observers.delete(channel);
          this.#channels.delete(channel);
        },
      },
    );
    const timer = setTimeout(() => {
      channel.dispose();
    }, authenticationMs);
    this.#channels.add(channel);
  }
}
