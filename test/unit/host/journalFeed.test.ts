import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { JournalFeed, type JournalPiece } from '../../../src/panels/journalFeed';
import { stepRow } from '../../support/syntheticRun';

let folder: string;
let file: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-feed-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  file = path.join(folder, `${Math.random()}.jsonl`);
});

const lines = (rows: readonly object[]): string =>
  rows.map((r) => `${JSON.stringify(r)}\n`).join('');
const rows = (from: number, to: number): object[] =>
  Array.from({ length: to - from + 1 }, (_, i) => stepRow(from + i - 1, from + i, 100));

async function all(feed: JournalFeed): Promise<JournalPiece[]> {
  const pieces: JournalPiece[] = [];
  for await (const piece of feed.read()) pieces.push(piece);
  return pieces;
}

/** What a panel holds after these pieces: it resets, supersedes, appends. */
function replay(pieces: readonly JournalPiece[], held: number[] = []): number[] {
  let steps = held;
  for (const piece of pieces) {
    if (piece.reset) steps = [];
    const above = piece.supersedeAbove;
    if (above !== undefined) steps = steps.filter((s) => s <= above);
    steps = [...steps, ...piece.steps.step];
  }
  return steps;
}

describe('JournalFeed', () => {
  it('gives exactly what was added, and nothing twice', async () => {
    writeFileSync(file, lines(rows(1, 3)));
    const feed = new JournalFeed(file);
    const first = await all(feed);
    expect(first).toHaveLength(1);
    expect(first[0]).toMatchObject({ seq: 2, reset: true, complete: true });
    expect(await all(feed)).toEqual([]);
    appendFileSync(file, lines(rows(4, 5)));
    const [second] = await all(feed);
    expect(second).toMatchObject({ seq: 4, reset: false });
    expect([...second!.steps.step]).toEqual([4, 5]);
    expect(second!.steps.loss[0]).toBe((rows(4, 4)[0] as { loss: number }).loss);
  });

  it('waits for the rest of a half-written line', async () => {
    const text = lines(rows(1, 2));
    writeFileSync(file, text.slice(0, -10));
    const feed = new JournalFeed(file);
    expect(replay(await all(feed))).toEqual([1]);
    appendFileSync(file, text.slice(-10));
    expect(replay(await all(feed))).toEqual([2]);
  });

  it('supersedes what lies above a resume, live and in a replay from the start', async () => {
    writeFileSync(file, lines(rows(1, 5)));
    const feed = new JournalFeed(file);
    const held = replay(await all(feed));
    const resume = { kind: 'resume', seq: 5, step: 3 };
    const again = [4, 5, 6].map((step, i) => stepRow(6 + i, step, 100));
    appendFileSync(file, lines([resume, ...again]));
    const update = await all(feed);
    expect(update[0]).toMatchObject({ supersedeAbove: 3, reset: false });
    expect(replay(update, held)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(replay(await all(new JournalFeed(file)))).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('goes on where the panel stands, and starts over where it does not', async () => {
    writeFileSync(file, lines(rows(1, 4)));
    const feed = new JournalFeed(file);
    const held = replay(await all(feed));
    feed.seek(3);
    appendFileSync(file, lines(rows(5, 6)));
    expect(replay(await all(feed), held)).toEqual([1, 2, 3, 4, 5, 6]);
    feed.seek(1);
    const over = await all(feed);
    expect(over[0]!.reset).toBe(true);
    expect(replay(over, held)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('splits a large journal, closing with the last piece', async () => {
    const many = Array.from({ length: 250_000 }, (_, i) => ({
      kind: 'step',
      seq: i,
      step: i + 1,
      loss: null,
    }));
    writeFileSync(file, lines(many));
    const pieces = await all(new JournalFeed(file));
    expect(pieces.map((p) => p.complete)).toEqual([false, false, true]);
    expect(pieces.map((p) => p.steps.step.length)).toEqual([100_000, 100_000, 50_000]);
    // A loss that is no number stays visible as such.
    expect(pieces[0]!.steps.loss[0]).toBeNaN();
  });

  it('says that a journal is there although it is empty or missing', async () => {
    const [piece] = await all(new JournalFeed(file));
    expect(piece).toMatchObject({ seq: -1, reset: true, complete: true });
  });
});
