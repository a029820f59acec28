import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRows, sniffFormat } from '../../../src/data/readers/dataset';
import type { SourceRow } from '../../../src/data/readers/row';

const fixtures = path.join(import.meta.dirname, '../../fixtures/data');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'dota-readers-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let counter = 0;
async function file(name: string, contents: string | Uint8Array): Promise<string> {
  const made = path.join(folder, `${counter++}-${name}`);
  await writeFile(made, contents);
  return made;
}

async function rows(from: string): Promise<SourceRow[]> {
  const all: SourceRow[] = [];
  for await (const row of readRows(from)) all.push(row);
  return all;
}

async function failure(from: string): Promise<unknown> {
  return rows(from).then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('JSONL', () => {
  it('is read with byte order mark, CRLF, blank lines and no final line break', async () => {
    const from = await file('a.jsonl', '\ufeff{"a":1}\r\n\r\n  \n{"a":"\u2028é"}');
    expect(await rows(from)).toEqual([
      { row: { a: 1 }, line: 1 },
      { row: { a: '\u2028é' }, line: 4 },
    ]);
  });

  it.each([
    ['a broken line', '{"a":1}\n{"a":2\n{"a":3}', 2, /Not valid JSON/],
    ['a raw NUL', '{"a":1}\n{"a":"\u0000"}', 2, /Not valid JSON/],
    ['a line that is a list', '{"a":1}\n[1]', 2, /not a JSON object/],
    ['deep nesting', `{"a":1}\n{"a":${'['.repeat(100)}${']'.repeat(100)}}`, 2, /nested deeper/],
  ])('with %s names file and line', async (_name, text, line, message) => {
    const from = await file('bad.jsonl', text);
    const error = await failure(from);
    expect(error).toMatchObject({ code: 'data.malformed', where: `${from}:${line}` });
    expect((error as Error).message).toMatch(message);
  });

  it('that is not UTF-8 names the line', async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"a":1}\n{"a":"'),
      Buffer.of(0xff),
      Buffer.from('"}'),
    ]);
    const from = await file('latin.jsonl', bytes);
    expect(await failure(from)).toMatchObject({ where: `${from}:2` });
  });

  it('with a line over 16 MB is refused without reading on', async () => {
    const from = await file('long.jsonl', `{"a":"${'x'.repeat(18 * 1024 * 1024)}"}`);
    expect(await failure(from)).toMatchObject({ code: 'data.malformed', where: `${from}:1` });
  });

  it('with __proto__ as a key changes no prototype', async () => {
    const [only] = await rows(await file('proto.jsonl', '{"__proto__":{"polluted":1},"a":1}'));
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(Object.hasOwn(only!.row, '__proto__')).toBe(true);
  });
});

describe('a JSON array', () => {
  it('is read element by element across chunk borders, with the line of each element', async () => {
    // Over 2 MB, so that strings, escapes and multi-byte characters cross the reads of 1 MB.
    const made = Array.from({ length: 30_000 }, (_, i) => ({
      text: `é"\\[{,]}${'😀'.repeat(i % 13)} ${i}`,
      nested: [{ i }],
    }));
    const from = await file('rows.json', JSON.stringify(made, null, 1));
    const read = await rows(from);
    expect(read.map((r) => r.row)).toEqual(made);
    // Pretty-printed: each element takes 8 lines, the first starts on line 2.
    expect(read[1000]!.line).toBe(2 + 8 * 1000);
  });

  it('may be empty', async () => {
    expect(await rows(await file('empty.json', ' [ \n ] '))).toEqual([]);
  });

  it.each([
    ['not closed', '[{"a":1},\n{"a":2}', /not closed/, 2],
    ['closed early', '[{"a":1}]\n]', /follows the end/, 2],
    ['with a missing comma', '[{"a":1}\n{"a":2}]', /Not valid JSON/, 1],
    ['with a trailing comma', '[{"a":1},\n]', /Not valid JSON/, 2],
    ['of numbers', '[1]', /not a JSON object/, 1],
    ['with a broken element', '[{"a":1},\n\n{"a":}]', /Not valid JSON/, 3],
    ['that nests deeply', `[{"a":1},\n${'['.repeat(100)}`, /nested deeper/, 2],
  ])('%s is refused with the line', async (_name, text, message, line) => {
    const from = await file('bad.json', text);
    const error = await failure(from);
    expect(error).toMatchObject({ code: 'data.malformed', where: `${from}:${line}` });
    expect((error as Error).message).toMatch(message);
  });
});

describe('CSV', () => {
  it('is read with quotes, line breaks in fields and a column named __proto__', async () => {
    const from = await file(
      'a.csv',
      '\ufeffprompt,completion,__proto__\r\n"a ""b""\nc",d,e\nf,g,h\n',
    );
    const read = await rows(from);
    expect(read.map((r) => r.row['prompt'])).toEqual(['a "b"\nc', 'f']);
    expect(Object.entries(read[0]!.row)).toContainEqual(['__proto__', 'e']);
    expect(read[1]!.line).toBe(4);
  });

  it('with tabs is read by its extension', async () => {
    expect(await rows(await file('a.tsv', 'a\tb\n1\t2,3\n'))).toEqual([
      { row: { a: '1', b: '2,3' }, line: 2 },
    ]);
  });

  it.each([
    ['a row of another length', 'a,b\n1,2\n3\n', /Invalid Record Length/, 3],
    ['an open quote', 'a,b\n1,"2\n', /Quote Not Closed/, 2],
    ['a column given twice', 'a,a\n1,2\n', /twice/, 1],
  ])('with %s names the line', async (_name, text, message, line) => {
    const from = await file('bad.csv', text);
    const error = await failure(from);
    expect(error).toMatchObject({ code: 'data.malformed' });
    expect((error as Error).message).toMatch(message);
    expect((error as { where: string }).where).toMatch(new RegExp(`:${line}$`));
  });
});

describe('Parquet', () => {
  it.each(['none', 'snappy', 'gzip', 'zstd'])(
    'compressed with %s gives plain rows',
    async (codec) => {
      const read = await rows(path.join(fixtures, `rows.${codec}.parquet`));
      expect(read.length).toBe(50);
      expect(read[43]).toEqual({
        row: {
          instruction: 'Question 43: what is 43 + é?',
          output: 'It is 43.',
          count: 43,
          score: 10.75,
          messages: [
            { role: 'user', content: 'hi 43' },
            { role: 'assistant', content: 'yo' },
          ],
        },
        line: 44,
      });
    },
  );

  it('cut anywhere is refused', async () => {
    const whole = await readFile(path.join(fixtures, 'rows.snappy.parquet'));
    for (let size = 4; size < whole.length; size += 97) {
      const from = await file('cut.parquet', whole.subarray(0, size));
      expect(await failure(from)).toMatchObject({ code: 'data.malformed' });
    }
  });
});

describe('text', () => {
  it('without blank lines is cut at line ends, and nothing is lost', async () => {
    const lines = Array.from(
      { length: 30_000 },
      (_, i) => `line ${i} of a book without paragraphs`,
    );
    const from = await file('book.txt', lines.join('\n'));
    const rows = [];
    for await (const row of readRows(from)) rows.push(row);
    expect(rows.length).toBeGreaterThan(3);
    const texts = rows.map(({ row }) => String(row['text']));
    expect(Math.max(...texts.map((text) => text.length))).toBeLessThan(2 ** 18 + 100);
    expect(texts.join('\n')).toBe(lines.join('\n'));
    expect(rows.map(({ line }) => lines[line - 1])).toEqual(texts.map((t) => t.split('\n')[0]));
  });

  it('gives a row a paragraph', async () => {
    expect(await rows(await file('a.txt', 'one\ntwo\n\n \nthree'))).toEqual([
      { row: { text: 'one\ntwo' }, line: 1 },
      { row: { text: 'three' }, line: 5 },
    ]);
  });
});

describe('sniffing', () => {
  it.each([
    ['a.json', ' [1', 'json'],
    ['a.data', '{"a":1}', 'jsonl'],
    ['a.txt', '[not json', 'text'],
    ['a.csv', 'a,b', 'csv'],
    ['a.bin', 'PAR1....', 'parquet'],
    ['a', 'hello', 'text'],
  ])('%s with %j is %s', async (name, contents, format) => {
    expect(await sniffFormat(await file(name, contents))).toBe(format);
  });

  it.each([
    ['a.json', 'hello', 'data.malformed'],
    ['a.jsonl', Uint8Array.of(0x1f, 0x8b, 8), 'data.malformed'],
    ['a.json', Uint8Array.of(0xff, 0xfe, 0x5b, 0), 'data.malformed'],
    ['a.json', '', 'data.empty'],
  ])('%s with %j is refused', async (name, contents, code) => {
    const from = await file(name, contents);
    await expect(sniffFormat(from)).rejects.toMatchObject({ code, where: from });
  });

  it('of a missing file and of a folder names it', async () => {
    await expect(sniffFormat(path.join(folder, 'none'))).rejects.toMatchObject({
      code: 'file.missing',
    });
    await expect(sniffFormat(folder)).rejects.toMatchObject({ code: 'file.unreadable' });
  });
});
