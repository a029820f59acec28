import { describe, expect, it } from 'vitest';
import {
  Channel,
  type Handlers,
  type MessageMap,
  type Transport,
} from '../../../src/protocol/channel';
import { DotaError } from '../../../src/protocol/errors';
import { encodeMessage, MessageDecoder } from '../../../src/protocol/ndjson';

interface Ping {
  requests: {
    double: { params: number; result: number };
    fail: { params: Record<string, never>; result: null };
    never: { params: Record<string, never>; result: null };
  };
  events: { note: { text: string } };
}
interface Nothing {
  requests: Record<string, never>;
  events: Record<string, never>;
}

class Pipe implements Transport {
  peer: Pipe | undefined;
  closed = false;
  #message: ((m: unknown) => void) | undefined;
  #close: ((e: DotaError | undefined) => void) | undefined;
  #early: unknown[] = [];
  send(message: unknown): void {
    const copy: unknown = JSON.parse(JSON.stringify(message));
    queueMicrotask(() => this.peer?.deliver(copy));
  }
  deliver(message: unknown): void {
    if (this.#message === undefined) this.#early.push(message);
    else this.#message(message);
  }
  onMessage(listener: (m: unknown) => void): void {
    this.#message = listener;
    for (const m of this.#early.splice(0)) queueMicrotask(() => listener(m));
  }
  onClose(listener: (e: DotaError | undefined) => void): void {
    this.#close = listener;
  }
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#close?.(undefined);
    this.peer?.close();
  }
}

function pipes(): [Pipe, Pipe] {
  const [a, b] = [new Pipe(), new Pipe()];
  a.peer = b;
  b.peer = a;
  return [a, b];
}

const none: Handlers<Nothing> = { requests: {}, events: {} };

function pair(notes: string[] = []): {
  client: Channel<Ping, Nothing>;
  server: Channel<Nothing, Ping>;
} {
  const [a, b] = pipes();
  const client = new Channel<Ping, Nothing>(a, none);
  const server = new Channel<Nothing, Ping>(
    b,
    {
      requests: {
        double: (n) => n * 2,
        fail: () => {
          throw new DotaError('run.locked', 'Taken.', { where: 'here', next: 'Wait.' });
        },
        never: () => new Promise<null>(() => undefined),
      },
      events: { note: ({ text }) => notes.push(text) },
    },
    { validate: (_kind, name, payload) => name !== 'double' || typeof payload === 'number' },
  );
  return { client, server };
}

async function errorOf(promise: Promise<unknown>): Promise<DotaError> {
  const error: unknown = await promise.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof DotaError)) throw new Error(`expected a DotaError, got ${String(error)}`);
  return error;
}

describe('Channel', () => {
  it('answers requests and delivers events in order', async () => {
    const notes: string[] = [];
    const { client } = pair(notes);
    client.notify('note', { text: 'a' });
    client.notify('note', { text: 'b' });
    expect(await Promise.all([client.request('double', 4), client.request('double', 5)])).toEqual([
      8, 10,
    ]);
    expect(notes).toEqual(['a', 'b']);
  });

  it('brings an error of the handler to the caller with code, place and next step', async () => {
    const { client } = pair();
    const error = await errorOf(client.request('fail', {}));
    expect(error.toJSON()).toEqual({
      code: 'run.locked',
      message: 'Taken.',
      where: 'here',
      next: 'Wait.',
    });
  });

  it('refuses what validation does not accept and names that nobody handles', async () => {
    const { client } = pair();
    expect((await errorOf(client.request('double', 'x' as unknown as number))).code).toBe(
      'protocol.invalid',
    );
    // `toString` exists on every object, but is no handler.
    expect((await errorOf(client.request('toString' as 'fail', {}))).code).toBe('protocol.invalid');
  });

  it('rejects after the timeout, and ignores an answer that comes later', async () => {
    const { client } = pair();
    expect((await errorOf(client.request('never', {}, 20))).code).toBe('protocol.timeout');
    expect(await client.request('double', 1)).toBe(2);
  });

  it('rejects what is pending when disposed, on either side', async () => {
    const one = pair();
    const pending = errorOf(one.client.request('never', {}));
    one.client.dispose();
    expect((await pending).code).toBe('protocol.closed');
    expect((await errorOf(one.client.request('double', 1))).code).toBe('protocol.closed');

    const other = pair();
    const waiting = errorOf(other.client.request('never', {}));
    other.server.dispose();
    expect((await waiting).code).toBe('protocol.closed');
  });

  it.each([
    ['another version', { t: 'hello', version: 999 }],
    ['no greeting', { t: 'event', name: 'note', payload: { text: 'x' } }],
    ['no frame at all', [1, 2, 3]],
  ])('closes on %s', async (_what, frame) => {
    const [a, b] = pipes();
    const reasons: (string | undefined)[] = [];
    const channel = new Channel<Nothing, MessageMap>(
      a,
      { requests: {}, events: {} },
      { onClose: (error) => reasons.push(error?.code) },
    );
    b.send(frame);
    await expect.poll(() => channel.closed).toBe(true);
    expect(reasons).toEqual(['protocol.invalid']);
    expect(b.closed).toBe(true);
  });
});

describe('MessageDecoder', () => {
  it('joins messages from chunks cut anywhere, also inside a character', () => {
    const messages = [{ a: 'ä€😀' }, [1, 2], 'x'];
    const bytes = Buffer.concat(messages.map((m) => encodeMessage(m)));
    for (let size = 1; size <= bytes.length; size += 1) {
      const decoder = new MessageDecoder();
      const seen: unknown[] = [];
      for (let at = 0; at < bytes.length; at += size) {
        seen.push(...decoder.push(bytes.subarray(at, at + size)));
      }
      expect(seen).toEqual(messages);
    }
  });

  it('refuses overlong lines, broken JSON and bytes that are not UTF-8', () => {
    const text = (s: string): Uint8Array => new TextEncoder().encode(s);
    expect(() => new MessageDecoder(8).push(text('"123456789"\n'))).toThrow(DotaError);
    expect(() => new MessageDecoder(8).push(text('"123456789'))).toThrow(DotaError);
    expect(() => new MessageDecoder().push(text('{"a":\n'))).toThrow(DotaError);
    expect(() => new MessageDecoder().push(new Uint8Array([0xff, 0x0a]))).toThrow(DotaError);
    expect(() => encodeMessage('x'.repeat(100), 50)).toThrow(DotaError);
  });
});
