/**
 * Arrays that nobody looks at for a while, out of the collector's sight. It weighs the arrays that a program
 * holds and starts once they have grown by 64 MB, a limit that no setting of V8 changes: what a forward pass
 * saves for its backward pass is more than that in every step, and none of it is garbage.
 */
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import type { HostArray } from './values';

/** A message that waits holds what was transferred with it, and belongs to no heap until it is received. */
const unused: MessageChannel[] = [];

/**
 * Takes the memory away from arrays (their length is 0 until then) and gives it to others when the returned
 * function is called, once.
 */
export function putAside(arrays: readonly HostArray[]): () => HostArray[] {
  const channel = unused.pop() ?? newChannel();
  channel.port1.postMessage(
    arrays,
    arrays.map(({ buffer }) => buffer as ArrayBuffer),
  );
  return () => {
    const { message } = receiveMessageOnPort(channel.port2) as { message: HostArray[] };
    unused.push(channel);
    return message;
  };
}

function newChannel(): MessageChannel {
  const channel = new MessageChannel();
  // Ports keep a program alive otherwise.
  channel.port1.unref();
  channel.port2.unref();
  return channel;
}
