import type { BuiltGraph } from '../../graph/graph';
import type { CompileOptions, Device, Session } from '../ort/device';
import { StagedSession } from './stagedSession';

/**
 * Compiled graphs by key, least recently used first out. Compiling takes some 60 ms whatever the
 * depth, so a new batch shape costs little; the bound keeps a run with many shapes small.
 */
export class SessionCache {
  readonly #device: Device;
  readonly #capacity: number;
  readonly #sessions = new Map<string, Session | StagedSession>();

  constructor(device: Device, capacity: number) {
    this.#device = device;
    this.#capacity = capacity;
  }

  get(key: string, build: () => BuiltGraph, options?: CompileOptions): Promise<Session> {
    return this.#get(`one ${key}`, () => this.#compile(key, build(), options));
  }

  /** Graphs that run one after the other; they come and go together. */
  stages(key: string, build: () => readonly BuiltGraph[]): Promise<StagedSession> {
    return this.#get(`stages ${key}`, async () => {
      const sessions: Session[] = [];
      for (const graph of build()) sessions.push(await this.#compile(key, graph));
      return new StagedSession(sessions, this.#device);
    });
  }

  #compile(key: string, graph: BuiltGraph, options?: CompileOptions): Promise<Session> {
    return this.#device.compile(graph, { label: key.split(' ', 1)[0] as string, ...options });
  }

  /** @param key begins with what `make` makes, so that a key has one type */
  async #get<T extends Session | StagedSession>(key: string, make: () => Promise<T>): Promise<T> {
    const known = this.#sessions.get(key);
    if (known) {
      this.#sessions.delete(key);
      this.#sessions.set(key, known);
      return known as T;
    }
    const session = await make();
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
