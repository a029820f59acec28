import type { BuiltGraph } from '../../graph/graph';
import type { CompileOptions, Device, Session } from '../ort/device';

/**
 * Compiled graphs by key, least recently used first out. Compiling takes some 60 ms whatever the
 * depth, so a new batch shape costs little; the bound keeps a run with many shapes small.
 */
export class SessionCache {
  readonly #device: Device;
  readonly #capacity: number;
  readonly #sessions = new Map<string, Session>();

  constructor(device: Device, capacity: number) {
    this.#device = device;
    this.#capacity = capacity;
  }

  async get(key: string, build: () => BuiltGraph, options?: CompileOptions): Promise<Session> {
    const known = this.#sessions.get(key);
    if (known) {
      this.#sessions.delete(key);
      this.#sessions.set(key, known);
      return known;
    }
    const session = await this.#device.compile(build(), {
      label: key.split(' ', 1)[0] as string,
      ...options,
    });
    this.#sessions.set(key, session);
    for (const [oldKey, old] of this.#sessions) {
      if (this.#sessions.size <= this.#capacity) break;
      this.#sessions.delete(oldKey);
      await old.release();
    }
    return session;
  }

  async dispose(): Promise<void> {
    for (const session of this.#sessions.values()) await session.release();
    this.#sessions.clear();
  }
}
