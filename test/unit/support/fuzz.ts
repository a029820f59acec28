/** Mutations of real files, and what every parser owes to its caller whatever it is fed. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { DotaError } from '../../../src/protocol/errors';

/** Cases a parser: 2,000 in `npm test`, 20,000 in `npm run test:full`, or DOTA_FUZZ_CASES. */
export const cases =
  Number(process.env['DOTA_FUZZ_CASES']) || (process.env['DOTA_FULL'] ? 20_000 : 2000);

/** Growth of the process over which a parser of these small files has taken a size from the file. */
const memoryCap = 1024 ** 3;
const memoryAtStart = process.memoryUsage.rss();

/** Bytes that mean something to one of the formats. */
const telling = Buffer.from('"{}[]:,\\/-+.eE019 \n\r\t\0\xff\x80{%}<>|ntrufals', 'latin1');

/** One to eight edits: overwritten, inserted, deleted, repeated and truncated bytes. */
export function mutations(base: Buffer): fc.Arbitrary<Buffer> {
  const position = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
  const byte = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.integer({ min: 0, max: telling.length - 1 }).map((i) => telling[i]!),
  );
  const edit = fc.record({
    kind: fc.constantFrom('set', 'insert', 'delete', 'repeat', 'truncate', 'number'),
    at: position,
    length: fc.integer({ min: 1, max: 64 }),
    byte,
    number: fc.constantFrom(
      '-1',
      '1e309',
      '18446744073709551616',
      '0',
      '1.5',
      '9007199254740993',
      'null',
    ),
  });
  return fc.array(edit, { minLength: 1, maxLength: 8 }).map((edits) => {
    let bytes = base;
    for (const { kind, at, length, byte: value, number } of edits) {
      const i = Math.floor(at * bytes.length);
      const [head, tail] = [bytes.subarray(0, i), bytes.subarray(i)];
      switch (kind) {
        case 'set':
          bytes = Buffer.concat([head, Buffer.of(value), tail.subarray(1)]);
          break;
        case 'insert':
          bytes = Buffer.concat([head, Buffer.alloc(length % 8, value), tail]);
          break;
        case 'delete':
          bytes = Buffer.concat([head, tail.subarray(length)]);
          break;
        case 'repeat':
          bytes = Buffer.concat([head, tail.subarray(0, length), tail]);
          break;
        case 'truncate':
          // Rarely, else most cases would be short.
          if (length === 1) bytes = head;
          break;
        case 'number': {
          const digits = /\d+/.exec(tail.toString('latin1'));
          if (digits === null) break;
          const start = i + digits.index;
          bytes = Buffer.concat([
            bytes.subarray(0, start),
            Buffer.from(number),
            bytes.subarray(start + digits[0].length),
          ]);
          break;
        }
      }
    }
    return bytes;
  });
}

/** JSON values with the keys of a format, so that checks behind the grammar are reached. */
export function jsonWithKeys(keys: readonly string[]): fc.Arbitrary<unknown> {
  const scalar = fc.oneof(
    fc.constantFrom<unknown>(
      null,
      true,
      false,
      -1,
      0,
      1,
      1.5,
      1e30,
      '',
      '__proto__',
      'constructor',
    ),
    fc.string({ maxLength: 8 }),
    fc.integer({ min: -3, max: 100_000 }),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', maxDepth: 4 },
      scalar,
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.constantFrom(...keys, '__proto__', 'toString'), tie('value'), {
        maxKeys: 6,
      }),
    ),
  }));
  return value;
}

/**
 * Runs a parser on one input: it may succeed, or refuse with a `DotaError` that names the place and
 * the next step; in either case within a second of CPU time, a minute of the clock (others may have
 * the machine meanwhile), and a gigabyte.
 */
export async function owesAnswer(parse: () => unknown): Promise<void> {
  const started = process.cpuUsage();
  const clock = performance.now();
  try {
    await parse();
  } catch (error) {
    if (!(error instanceof DotaError)) throw error;
    expect(error.code).not.toBe('internal');
    expect(error.where, error.message).toBeTruthy();
    expect(error.next, error.message).toBeTruthy();
    expect(error.message.length).toBeLessThan(2000);
  }
  expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
  expect(performance.now() - clock).toBeLessThan(60_000);
  expect(process.memoryUsage.rss() - memoryAtStart).toBeLessThan(memoryCap);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
}
