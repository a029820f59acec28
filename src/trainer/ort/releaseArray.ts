/**
 * Gives an array's memory back at once. The collector frees results of the runtime late: it does not
 * feel their weight, and sweeps them on a thread that competes with the arithmetic, so that a step's
 * peak memory depended on how busy the machine was.
 */
import { MessageChannel } from 'node:worker_threads';

/**
 * A transfer takes the memory away from the array; a message that nobody can receive is destroyed on
 * the spot, and the memory with it. Node 20 has no more direct way (`ArrayBuffer.transfer` is newer).
 */
const nowhere = closedPort();

function closedPort(): MessageChannel['port1'] {
  const { port1 } = new MessageChannel();
  port1.close();
  return port1;
}

/** Afterwards the array, and every other view of its buffer, has length 0. */
export function releaseArray(array: ArrayBufferView): void {
  nowhere.postMessage(undefined, [array.buffer as ArrayBuffer]);
}
