/**
 * A typed two-way channel over anything that carries messages in order (a socket, a worker's port).
 * Requests have an answer of a derived type, events have none. An error thrown by a handler reaches
 * the caller as the same DotaError; disposing, or a transport that closes, rejects what is pending.
 */
import { DotaError, serializeError, type ErrorCode, type SerializedError } from './errors';
import { isNumber, isObject, isString } from './guards';

/** Raised whenever a message changes its meaning; peers of another version are refused. */
export const protocolVersion = 1;

/** Everything that one side may send. */
export interface MessageMap {
  requests: Record<string, { params: unknown; result: unknown }>;
  events: Record<string, unknown>;
}

/** Carries structured-clone or JSON values in order, or closes. */
export interface Transport {
  send(message: unknown): void;
  /** Called once each by the channel. */
  onMessage(listener: (message: unknown) => void): void;
  onClose(listener: (error: DotaError | undefined) => void): void;
  close(): void;
}

type RequestName<M extends MessageMap> = keyof M['requests'] & string;
type EventName<M extends MessageMap> = keyof M['events'] & string;
type Params<M extends MessageMap, K extends RequestName<M>> = M['requests'][K]['params'];
type Result<M extends MessageMap, K extends RequestName<M>> = M['requests'][K]['result'];

/** What a side does with the messages of its peer. */
export interface Handlers<In extends MessageMap> {
  requests: {
    [K in RequestName<In>]: (params: Params<In, K>) => Result<In, K> | Promise<Result<In, K>>;
  };
  events: { [K in EventName<In>]: (payload: In['events'][K]) => void };
}

export interface ChannelOptions {
  /** Milliseconds until a request without an answer is rejected. */
  requestTimeout?: number;
  /**
   * Checks what came off the wire before a handler sees it; returning false refuses the message.
   * Needed wherever the peer is not a thread of the same program.
   */
  validate?: (kind: 'request' | 'event', name: string, payload: unknown) => boolean;
  /** Called once, after everything pending was rejected. */
  onClose?: (error: DotaError | undefined) => void;
}

type Frame =
  | { t: 'hello'; version: number }
  | { t: 'request'; id: number; name: string; params: unknown }
  | { t: 'result'; id: number; result: unknown }
  | { t: 'error'; id: number; error: SerializedError }
  | { t: 'event'; name: string; payload: unknown };

interface Pending {
  resolve(result: unknown): void;
  reject(error: DotaError): void;
  timer: ReturnType<typeof setTimeout>;
}

const defaultTimeout = 10_000;

export class Channel<Out extends MessageMap, In extends MessageMap> {
  readonly #transport: Transport;
  readonly #handlers: Handlers<In>;
  readonly #options: ChannelOptions;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #greeted = false;
  #closed: DotaError | undefined;

  constructor(transport: Transport, handlers: Handlers<In>, options: ChannelOptions = {}) {
    this.#transport = transport;
    this.#handlers = handlers;
    this.#options = options;
    transport.onMessage((message) => {
      this.#receive(message);
    });
    transport.onClose((error) => {
      this.#close(error);
    });
    this.#send({ t: 'hello', version: protocolVersion });
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * Asks the peer and waits for its answer.
   * @throws DotaError the peer's own error, `protocol.timeout`, or `protocol.closed`
   */
  request<K extends RequestName<Out>>(
    name: K,
    params: Params<Out, K>,
    timeout: number = this.#options.requestTimeout ?? defaultTimeout,
  ): Promise<Result<Out, K>> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const id = this.#nextId++;
    return new Promise<Result<Out, K>>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(
          new DotaError('protocol.timeout', `No answer to "${name}" within ${timeout / 1000} s.`, {
            next: 'The other side may be busy or gone; try again.',
          }),
        );
      }, timeout);
      this.#pending.set(id, {
        // The peer's answer to `name` has the type that the map promises for it.
        resolve: (result) => {
          resolve(result as Result<Out, K>);
        },
        reject,
        timer,
      });
      try {
        this.#send({ t: 'request', id, name, params });
      } catch (error) {
        clearTimeout(timer);
        this.#pending.delete(id);
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  /** Sends an event; on a closed channel it is dropped, as the journal holds everything that lasts. */
  notify<K extends EventName<Out>>(name: K, payload: Out['events'][K]): void {
    if (this.#closed === undefined) this.#send({ t: 'event', name, payload });
  }

  /** Closes the transport and rejects what is pending with `protocol.closed`. */
  dispose(): void {
    this.#close(undefined);
    this.#transport.close();
  }

  #send(frame: Frame): void {
    this.#transport.send(frame);
  }

  #fail(message: string): void {
    this.#close(new DotaError('protocol.invalid', message));
    this.#transport.close();
  }

  #close(error: DotaError | undefined): void {
    if (this.#closed !== undefined) return;
    this.#closed = error ?? new DotaError('protocol.closed', 'The connection is closed.');
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(this.#closed);
    }
    this.#pending.clear();
    this.#options.onClose?.(error);
  }

  #receive(message: unknown): void {
    if (this.#closed !== undefined) return;
    const frame = parseFrame(message);
    if (frame === undefined) {
      this.#fail('Received a message that is not part of the protocol.');
      return;
    }
    if (!this.#greeted && frame.t !== 'hello') {
      this.#fail('The peer did not greet.');
      return;
    }
    switch (frame.t) {
      case 'hello':
        this.#greeted = true;
        if (frame.version !== protocolVersion) {
          this.#fail(
            `The peer speaks protocol version ${frame.version}, this program ${protocolVersion}. ` +
              'Use the same version of the extension and the command line.',
          );
        }
        return;
      case 'request':
        void this.#answer(frame.id, frame.name, frame.params);
        return;
      case 'event':
        this.#dispatch(frame.name, frame.payload);
        return;
      case 'result':
        this.#settle(frame.id)?.resolve(frame.result);
        return;
      case 'error':
        this.#settle(frame.id)?.reject(DotaError.from(frame.error));
        return;
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    clearTimeout(pending.timer);
    this.#pending.delete(id);
    return pending;
  }

  async #answer(id: number, name: string, params: unknown): Promise<void> {
    let frame: Frame;
    try {
      if (!Object.hasOwn(this.#handlers.requests, name) || !this.#valid('request', name, params)) {
        throw new DotaError('protocol.invalid', `The request "${name}" is not understood.`);
      }
      // The name was just found among the handlers; validate() vouches for the parameters.
      const handler = this.#handlers.requests[name as RequestName<In>];
      const result = await handler(params as Params<In, RequestName<In>>);
      frame = { t: 'result', id, result };
    } catch (error) {
      frame = { t: 'error', id, error: serializeError(error) };
    }
    if (this.#closed === undefined) this.#send(frame);
  }

  #dispatch(name: string, payload: unknown): void {
    // An unknown event is ignored: a lost event is harmless by design.
    if (!Object.hasOwn(this.#handlers.events, name) || !this.#valid('event', name, payload)) return;
    this.#handlers.events[name as EventName<In>](payload as In['events'][EventName<In>]);
  }

  #valid(kind: 'request' | 'event', name: string, payload: unknown): boolean {
    return this.#options.validate?.(kind, name, payload) ?? true;
  }
}

function parseFrame(raw: unknown): Frame | undefined {
  if (!isObject(raw)) return undefined;
  switch (raw.t) {
    case 'hello':
      return isNumber(raw.version) ? { t: 'hello', version: raw.version } : undefined;
    case 'request':
      return isNumber(raw.id) && isString(raw.name)
        ? { t: 'request', id: raw.id, name: raw.name, params: raw.params }
        : undefined;
    case 'result':
      return isNumber(raw.id) ? { t: 'result', id: raw.id, result: raw.result } : undefined;
    case 'error':
      return isNumber(raw.id)
        ? { t: 'error', id: raw.id, error: parseError(raw.error) }
        : undefined;
    case 'event':
      return isString(raw.name) ? { t: 'event', name: raw.name, payload: raw.payload } : undefined;
    default:
      return undefined;
  }
}

function parseError(raw: unknown): SerializedError {
  if (!isObject(raw) || !isString(raw.code) || !isString(raw.message)) {
    return { code: 'protocol.invalid', message: 'The peer failed without saying why.' };
  }
  return {
    code: raw.code as ErrorCode,
    message: raw.message,
    ...(isString(raw.where) ? { where: raw.where } : {}),
    ...(isString(raw.next) ? { next: raw.next } : {}),
  };
}
