/**
 * The one word that the main thread and the worker share: what the user wants. The worker polls it
 * between two blocks, so a stop takes effect while its event loop is blocked by a computation.
 */
const proceed = 0;
const pause = 1;
const stop = 2;

export class ControlFlags {
  readonly buffer: SharedArrayBuffer;
  readonly #word: Int32Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.buffer = buffer;
    this.#word = new Int32Array(buffer);
  }

  get stopped(): boolean {
    return Atomics.load(this.#word, 0) === stop;
  }

  get paused(): boolean {
    return Atomics.load(this.#word, 0) === pause;
  }

  /** For good: a stopped run neither pauses nor goes on. */
  requestStop(): void {
    Atomics.store(this.#word, 0, stop);
    Atomics.notify(this.#word, 0);
  }

  requestPause(): void {
    Atomics.compareExchange(this.#word, 0, proceed, pause);
  }

  requestResume(): void {
    Atomics.compareExchange(this.#word, 0, pause, proceed);
    Atomics.notify(this.#word, 0);
  }

  /** Blocks the calling thread while paused; never call it on the main thread. */
  waitWhilePaused(): void {
    while (this.paused) Atomics.wait(this.#word, 0, pause);
  }
}
