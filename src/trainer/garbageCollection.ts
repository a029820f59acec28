/** Buffers of the runtime are freed only by the collector, which does not feel their weight. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Makes `gc()` available to this thread; the engine calls it between steps. */
export function enableGarbageCollection(): void {
  setFlagsFromString('--expose-gc');
  globalThis.gc = runInNewContext('gc') as typeof globalThis.gc;
}
