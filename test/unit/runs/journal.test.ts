import {
  appendFileSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  writeFileSync,
  readFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JournalReader } from '../../../src/runs/journalReader';
import { StepRowParser } from '../../../src/runs/stepRowParser';
import { JournalWriter, type NewRow } from '../../../src/runs/journalWriter';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-journal-'));
  file = path.join(folder, 'metrics.jsonl');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function step(n: number, loss = 1 / n): Extract<NewRow, { kind: 'step' }> {
  return {
    kind: 'step',
    step: n,
    epoch: n / 10,
    loss,
    learningRate: 1e-3,
    gradNorm: 0.5,
    tokens: n * 100,
    tokensPerSecond: 1000,
    rssMb: 100,
    elapsed: n,
  };
}

function withSeq(seq: number, row: NewRow): Record<string, unknown> {
  const { kind, ...rest } = row;
  return { kind, seq, ...rest };
}

describe('journal', () => {
  it('numbers rows and continues the numbers after reopening', () => {
    const first = new JournalWriter(file);
    expect(first.append(step(1)).seq).toBe(0);
    expect(first.append(step(2)).seq).toBe(1);
    first.close();
    const second = new JournalWriter(file);
    expect(second.append(step(3)).seq).toBe(2);
    second.close();
  });

  it('gives back exactly the doubles that were written', async () => {
    const writer = new JournalWriter(file);
    const losses = [Math.PI, 1e-300, 0.1 + 0.2, Math.fround(1 / 3)];
    losses.forEach((loss, i) => writer.append(step(i + 1, loss)));
    writer.close();
    const reader = new JournalReader(file);
    await reader.read();
    expect([...reader.steps.column('loss')]).toEqual(losses);
  });

  it('reads numbers of every form like JSON.parse', async () => {
    // [random mantissas, exponents, integers, signs]: equality of bits with the platform's parser.
    const numbers: number[] = [0, -0, 5e-324, 1.7976931348623157e308, 2 ** 53, 2 ** 53 - 1, 1e21];
    let x = 1;
    for (let i = 0; i < 5000; i += 1) {
      x = (x * 48271) % 2147483647;
      numbers.push((x / 2147483647 - 0.5) * 10 ** ((i % 40) - 20), Math.fround(x / 3e9));
    }
    writeFileSync(
      file,
      numbers
        .map((n) => `${JSON.stringify(withSeq(0, { ...step(1), loss: n, gradNorm: n }))}\n`)
        .join(''),
    );
    const reader = new JournalReader(file);
    await reader.read();
    expect(reader.steps.length).toBe(numbers.length);
    const wrong = numbers.filter(
      (n, i) => JSON.parse(JSON.stringify(n)) !== reader.steps.column('loss')[i],
    );
    expect(wrong).toEqual([]);
  });

  it('reads every number as JSON.parse does, to the last bit', () => {
    const parser = new StepRowParser();
    const read = (text: string): number | undefined => {
      const line = `${JSON.stringify({ ...step(1), kind: 'step', seq: 0 })}\n`;
      const fields = ['seq', 'step', 'epoch', 'loss', 'learningRate', 'gradNorm'];
      fields.push('tokens', 'tokensPerSecond', 'rssMb', 'elapsed');
      const row = JSON.parse(line) as Record<string, unknown>;
      const ordered = fields.map((f) => `"${f}":${f === 'loss' ? text : JSON.stringify(row[f])}`);
      const bytes = Buffer.from(`{"kind":"step",${ordered.join(',')}}\n`);
      return parser.parse(bytes, 0) ? parser.values[3] : undefined;
    };
    const check = (text: string): void => {
      expect(read(text), text).toBe(JSON.parse(text));
    };
    // As runs write them, of every size; and digits as no program would print them.
    const digits = fc.bigInt({ min: 0n, max: 10n ** 21n });
    const shifted = fc.tuple(digits, fc.integer({ min: 1, max: 24 })).map(([n, places]) => {
      const text = n.toString().padStart(places + 1, '0');
      return `${text.slice(0, -places)}.${text.slice(-places)}`;
    });
    const near = fc.tuple(fc.double({ min: 0, max: 20, noNaN: true }), fc.integer({ max: 9 }));
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        check(JSON.stringify(value));
      }),
      { numRuns: 5000 },
    );
    fc.assert(
      fc.property(near, ([value, power]) => {
        check(JSON.stringify(value * 10 ** Math.max(-9, power % 10)));
      }),
      { numRuns: 5000 },
    );
    fc.assert(fc.property(shifted, check), { numRuns: 5000 });
    // Halfway between two doubles, and a hair beside it.
    for (const text of ['9007199254740993', '9007199254740993.0', '900719925474099.25'])
      check(text);
    for (const text of ['0.50000000000000005551', '0.1000000000000000055', '-0.0', '0'])
      check(text);
  });

  it('reads a GPU’s rows on the fast path as well', async () => {
    const writer = new JournalWriter(file);
    writer.append({ ...step(1), deviceMb: 812.5 });
    writer.append(step(2));
    writer.close();
    const bytes = readFileSync(file);
    const parser = new StepRowParser();
    expect(parser.parse(bytes, 0)).toBe(true);
    expect(parser.values[1]).toBe(1);
    expect(parser.values.at(-1)).toBe(812.5);
    expect(parser.parse(bytes, parser.next)).toBe(true);
    expect(parser.next).toBe(bytes.length);
    for (const end of ['"deviceMb":}', '"deviceMb":1,"more":2}', '"deviceMB":1}']) {
      const other = bytes.toString().replace('"deviceMb":812.5}', end);
      expect(parser.parse(Buffer.from(other), 0), end).toBe(false);
    }
    const reader = new JournalReader(file);
    await reader.read();
    expect([...reader.steps.column('loss')]).toEqual([1, 0.5]);
    // What the row before said does not stay.
    expect([...reader.steps.column('deviceMb')]).toEqual([812.5, NaN]);
  });

  it('waits for the end of a torn last line, and a writer cuts it off', async () => {
    const writer = new JournalWriter(file);
    writer.append(step(1));
    writer.close();
    const whole = readFileSync(file).length;
    appendFileSync(file, '{"kind":"step","seq":1,"st');
    const reader = new JournalReader(file);
    await reader.read();
    expect(reader.steps.length).toBe(1);
    expect(reader.offset).toBe(whole);
    const again = new JournalWriter(file);
    expect(again.bytes).toBe(whole);
    expect(again.append(step(2)).seq).toBe(1);
    again.close();
    const delta = await reader.read();
    expect(delta).toMatchObject({ stepsFrom: 1, reset: false, invalidLines: 0 });
    expect([...reader.steps.column('step')]).toEqual([1, 2]);
  });

  it('finds the last number when the last rows are longer than a window', () => {
    const writer = new JournalWriter(file);
    writer.append(step(1));
    writer.append({ kind: 'message', level: 'info', text: 'x'.repeat(300_000) });
    writer.close();
    appendFileSync(file, 'not json\n');
    expect(new JournalWriter(file).append(step(2)).seq).toBe(2);
  });

  it('supersedes rows above a resume, over one read or several', async () => {
    const writer = new JournalWriter(file);
    const early = new JournalReader(file);
    for (let n = 1; n <= 5; n += 1) writer.append(step(n, n));
    writer.append({ kind: 'eval', step: 3, loss: 3, tokens: 1, elapsed: 1 });
    writer.append({ kind: 'eval', step: 5, loss: 5, tokens: 1, elapsed: 1 });
    await early.read();
    writer.append({ kind: 'resume', step: 3 });
    writer.append(step(4, 40));
    const delta = await early.read();
    expect(delta).toMatchObject({ stepsFrom: 3, evalsFrom: 1, supersedeAbove: 3 });
    const late = new JournalReader(file);
    await late.read();
    for (const reader of [early, late]) {
      expect([...reader.steps.column('step')]).toEqual([1, 2, 3, 4]);
      expect([...reader.steps.column('loss')]).toEqual([1, 2, 3, 40]);
      expect([...reader.evals.column('step')]).toEqual([3]);
    }
    writer.close();
  });

  it('passes over lines that are no rows and counts them', async () => {
    writeFileSync(
      file,
      ['[]', 'null', '{"kind":"step","seq":0}', '{"kind":"state","seq":1,"state":"on fire"}', 'x']
        .map((l) => `${l}\n`)
        .join(''),
    );
    const writer = new JournalWriter(file);
    writer.append(step(1));
    writer.close();
    const reader = new JournalReader(file);
    expect((await reader.read()).invalidLines).toBe(5);
    expect(reader.steps.length).toBe(1);
  });

  it('starts over when the journal shrank, and reads nothing of an absent one', async () => {
    const reader = new JournalReader(file);
    expect((await reader.read()).stepsFrom).toBe(0);
    const writer = new JournalWriter(file);
    writer.append(step(1));
    writer.append(step(2));
    writer.close();
    await reader.read();
    truncateSync(file, 0);
    new JournalWriter(file).append(step(7));
    const delta = await reader.read();
    expect(delta.reset).toBe(true);
    expect([...reader.steps.column('step')]).toEqual([7]);
  });

  it('does not take rows in twice when two reads overlap', async () => {
    const writer = new JournalWriter(file);
    for (let n = 1; n <= 100; n += 1) writer.append(step(n));
    writer.close();
    const reader = new JournalReader(file);
    await Promise.all([reader.read(), reader.read(), reader.read()]);
    expect(reader.steps.length).toBe(100);
  });

  it('replays more rows than one read takes at a time', async () => {
    // 1,000 rows by the writer itself, repeated: numbers as long as real ones. How long a million
    // rows take is a figure of `npm run bench -- journal`.
    const writer = new JournalWriter(file);
    for (let n = 1; n <= 1000; n += 1)
      writer.append({ ...step(n, Math.sin(n) + 2), epoch: n / 977 });
    writer.close();
    writeFileSync(file, readFileSync(file, 'utf8').repeat(100));
    const reader = new JournalReader(file);
    await reader.read();
    expect(reader.steps.length).toBe(100_000);
    expect(reader.steps.column('loss')[99_999]).toBe(Math.sin(1000) + 2);
  });
});
