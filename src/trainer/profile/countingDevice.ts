/** A device that notes what runs on it. */
import { savedValue } from '../../graph/decoder/blockGraphs';
import type { BuiltGraph } from '../../graph/graph';
import { sizeOf } from '../../graph/shape';
import type { Device, Session } from '../ort/device';
import type { Value } from '../ort/values';

export class CountingDevice implements Device {
  readonly kind;
  readonly bufferBytes;
  readonly #inner: Device;
  #runs: BuiltGraph[] = [];
  #savedBytes = 0;
  #lastSavedBytes = 0;

  constructor(inner: Device) {
    this.#inner = inner;
    this.kind = inner.kind;
    this.bufferBytes = inner.bufferBytes;
  }

  async compile(...args: Parameters<Device['compile']>): Promise<Session> {
    const [graph] = args;
    const session = await this.#inner.compile(...args);
    const saves = graph.outputs.some(({ name }) => name.startsWith(savedValue('')));
    const outputBytes = graph.outputs.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
    return {
      inputs: session.inputs,
      outputs: session.outputs,
      run: (feeds, into) => {
        this.#runs.push(graph);
        if (saves) this.#savedBytes += outputBytes;
        return session.run(feeds, into);
      },
      release: () => session.release(),
    };
  }

  upload(...args: Parameters<Device['upload']>): ReturnType<Device['upload']> {
    return this.#inner.upload(...args);
  }

  read(...args: Parameters<Device['read']>): ReturnType<Device['read']> {
    return this.#inner.read(...args);
  }

  free(...args: Parameters<Device['free']>): Promise<void> {
    return this.#inner.free(...args);
  }

  keep(value: Value): void {
    this.#inner.keep(value);
  }

  setAside(...args: Parameters<Device['setAside']>): ReturnType<Device['setAside']> {
    return this.#inner.setAside(...args);
  }

  scope<T>(work: () => Promise<T>): Promise<T> {
    return this.#inner.scope(work);
  }

  memory(): ReturnType<Device['memory']> {
    return this.#inner.memory();
  }

  dispose(): Promise<void> {
    return this.#inner.dispose();
  }

  /** The graphs that have run since the last call, in their order and as often. */
  take(): BuiltGraph[] {
    const runs = this.#runs;
    this.#runs = [];
    this.#lastSavedBytes = this.#savedBytes;
    this.#savedBytes = 0;
    return runs;
  }

  /** Bytes that forward passes kept for backward passes, before the last `take`. */
  takeSavedBytes(): number {
    return this.#lastSavedBytes;
  }
}
