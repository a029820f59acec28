import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExampleOptions } from '../../../src/data/examples';
import { DatasetPreview } from '../../../src/data/preview';
import { Tokenizer } from '../../../src/models/tokenizer';
import { parseTokenizerFile } from '../../../src/models/tokenizerFile';
import type { DatasetReport } from '../../../src/protocol/datasetPreview';

const options: ExampleOptions = {
  template: 'auto',
  lossMask: 'completion',
  maxLength: 40,
  truncation: 'keep_start',
};
let folder: string;
let tokenizer: Tokenizer;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'dota-preview-'));
  const fixture = path.join(import.meta.dirname, '../../fixtures/tokenizer/llama3.json');
  const settings = { bosToken: '<|begin_of_text|>', eosToken: '<|eot_id|>' };
  const text = await readFile(fixture, 'utf8');
  tokenizer = new Tokenizer(parseTokenizerFile(text, 't'), settings, 't');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function preview(rows: readonly object[]): Promise<DatasetPreview> {
  const file = path.join(folder, 'data.jsonl');
  await writeFile(file, rows.map((row) => JSON.stringify(row)).join('\n'));
  return new DatasetPreview(file, tokenizer, options);
}

describe('a page', () => {
  it('shows tokens with mask and special ones, joined to the whole text', async () => {
    const page = await (await preview([{ prompt: 'Größe? ', completion: 'drei 😀' }])).page(0, 10);
    expect(page).toMatchObject({ start: 0, more: false });
    const [tokens] = page.rows[0]!.sequences;
    expect(tokens!.map((t) => t.text).join('')).toBe('<|begin_of_text|>Größe? drei 😀<|eot_id|>');
    expect(
      tokens!
        .filter((t) => t.trained)
        .map((t) => t.text)
        .join(''),
    ).toBe('drei 😀<|eot_id|>');
    expect(tokens!.filter((t) => t.special).map((t) => t.text)).toEqual([
      '<|begin_of_text|>',
      '<|eot_id|>',
    ]);
  });

  it('says why a row is dropped or changed', async () => {
    const shown = await preview([
      { prompt: 'a', completion: ' ' },
      { prompt: 'a', completion: 'b '.repeat(60) },
      { prompt: 'a '.repeat(60), completion: 'b' },
      { prompt: 'a <|eot_id|>', completion: 'b' },
      { question: 'a' },
    ]);
    const { rows } = await shown.page(0, 10);
    expect(rows.map((row) => row.remarks.join(' '))).toEqual([
      expect.stringMatching(/blank/),
      expect.stringMatching(/Cut from \d+/),
      expect.stringMatching(/Cut.*nothing is left/),
      expect.stringMatching(/special token 1 times/),
      expect.stringMatching(/no field text/),
    ]);
    expect(rows.map((row) => row.line)).toEqual([1, 2, 3, 4, 5]);
  });

  it('of a large file comes before the counts, which are partial until complete', async () => {
    const rows = Array.from({ length: 20_000 }, (_, i) => ({
      prompt: `${i} `,
      completion: 'x'.repeat(i % 50) + 'y',
    }));
    const shown = await preview(rows);
    const reports: DatasetReport[] = [];
    let pageAt = -1;
    const counting = shown.count((report) => reports.push(report));
    const paging = shown.page(0, 20).then((page) => {
      pageAt = reports.length;
      return page;
    });
    expect((await paging).rows).toHaveLength(20);
    const final = await counting;
    // The first page needs one read of the file; the counts need all of them.
    expect(pageAt).toBeLessThan(reports.length);
    expect(final).toMatchObject({ partial: false, rows: 20_000, examples: 20_000 });
    expect(reports.slice(0, -1).every((r) => r.partial && r.fraction < 1)).toBe(true);
    const later = await shown.page(19_990, 20);
    expect(later.rows.map((row) => row.line)[0]).toBe(19_991);
    expect(later).toMatchObject({ more: false });
    expect(later.rows).toHaveLength(10);
  });
});
