import { COMPILED_LIMIT, compiledBytes } from '../../estimate/compiledGraphs';
import type { BuiltGraph } from '../../graph/graph';
import type { CompileOptions, Device, Session } from '../ort/device';
import { StagedSession } from './stagedSession';

interface Entry {
  session: Session | StagedSession;
  bytes: number;
  /** The last pass that used it. */
  pass: number;
}

/**
 * Compiled graphs by key. They are kept up to a limit of memory, least recently used first out: building and
 * compiling a block's graphs takes 50 to 150 ms a batch shape whatever the depth, as much as a whole step of a
 * small model, so shapes that come again must not be compiled again. What the pass at hand has used stays
 * in any case, else a model with many kinds of blocks would compile all of them in every step.
 */
export class SessionCache {
  readonly #device: Device;
  readonly #limit: number;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #pass = 0;

  /** @param limit of what all graphs take, in bytes by `compiledBytes` */
  constructor(device: Device, limit = COMPILED_LIMIT) {
    this.#device = device;
    this.#limit = limit;
  }

  /** From here on what was used before may go. */
  beginPass(): void {
    this.#pass += 1;
  }

  get(key: string, build: () => BuiltGraph, options?: CompileOptions): Promise<Session> {
    return this.#get(`one ${key}`, async () => {
      const graph = build();
      const session = await this.#compile(key, graph, options);
      return { session, bytes: compiledBytes(graph.nodes.length) };
    });
  }

  /** Graphs that run one after the other; they come and go together. */
  stages(key: string, build: () => readonly BuiltGraph[]): Promise<StagedSession> {
    return this.#get(`stages ${key}`, async () => {
      const sessions: Session[] = [];
      let bytes = 0;
      for (const graph of build()) {
        sessions.push(await this.#compile(key, graph));
        bytes += compiledBytes(graph.nodes.length);
      }
      return { session: new StagedSession(sessions, this.#device), bytes };
    });
  }

  #compile(key: string, graph: BuiltGraph, options?: CompileOptions): Promise<Session> {
    return this.#device.compile(graph, { label: key.split(' ', 1)[0] as string, ...options });
  }

  /** @param key begins with what `make` makes, so that a key has one type */
  async #get<T extends Session | StagedSession>(
    key: string,
    make: () => Promise<{ session: T; bytes: number }>,
  ): Promise<T> {
    const known = this.#entries.get(key);
    if (known) {
      known.pass = this.#pass;
      // The map's order is the order of use.
      this.#entries.delete(key);
      this.#entries.set(key, known);
      return known.session as T;
    }
    const made = await make();
    this.#entries.set(key, { ...made, pass: this.#pass });
    this.#bytes += made.bytes;
    for (const [oldKey, old] of this.#entries) {
      if (this.#bytes <= this.#limit || old.pass === this.#pass) break;
      this.#entries.delete(oldKey);
      this.#bytes -= old.bytes;
      await old.session.release();
    }
    return made.session;
  }

  async dispose(): Promise<void> {
    for (const { session } of this.#entries.values()) await session.release();
    this.#entries.clear();
    this.#bytes = 0;
  }
}
