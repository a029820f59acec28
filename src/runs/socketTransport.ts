/** A channel's transport over a local socket: one JSON document a line. */
import type { Socket } from 'node:net';
import type { Transport } from '../protocol/channel';
import { DotaError } from '../protocol/errors';
import { encodeMessage, MessageDecoder } from '../protocol/ndjson';

export function socketTransport(socket: Socket): Transport {
  const decoder = new MessageDecoder();
  let failure: DotaError | undefined;
  socket.setNoDelay(true);
  return {
    send(message) {
      if (socket.writable) socket.write(encodeMessage(message));
    },
    onMessage(listener) {
      socket.on('data', (chunk: Buffer) => {
        try {
          for (const message of decoder.push(chunk)) listener(message);
        } catch (error) {
          failure = error instanceof DotaError ? error : undefined;
          socket.destroy();
        }
      });
    },
    onClose(listener) {
      socket.on('error', (cause) => {
        failure ??= new DotaError('protocol.closed', `The connection broke: ${cause.message}.`, {
          cause,
        });
      });
      socket.on('close', () => {
        listener(failure);
      });
    },
    close() {
      // What was written before still goes out: an answer may be on its way.
      socket.end();
      setTimeout(() => socket.destroy(), 500).unref();
    },
  };
}
