/** `dota preview` on a real configuration. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DatasetReport, PreviewPage } from '../../../src/protocol/datasetPreview';
import { runCli } from '../trainer/cliHarness';
import { writeTinyWorkspace } from '../trainer/tinyModel';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-preview-'));
  await writeTinyWorkspace(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const preview = (...args: string[]) => runCli(['preview', 'tiny.dota.json', ...args], folder);

describe('dota preview', () => {
  it('prints rows with the trained part marked, and the counts', async () => {
    const { code, stdout, stderr } = await preview('--rows', '2');
    expect(code, stderr).toBe(0);
    expect(stdout).toContain('-- line 1\n0+1=⟦1</s>⟧\n-- line 1\n7+4=⟦11</s>⟧');
    expect(stdout).toContain('60 rows, 60 sequences');
  });

  it('takes the counts of a run that has tokenized the file, as long as nothing changed', async () => {
    const counted = await preview('--json');
    const trained = await runCli(
      ['train', 'tiny.dota.json', '--set', 'training.max_steps=1', '--json'],
      folder,
    );
    expect(trained.code, trained.stderr).toBe(0);
    const cache = path.join(folder, '.dota/cache');
    expect(existsSync(cache)).toBe(true);
    const streamed = async (...args: string[]) =>
      (await preview('--stream', ...args)).stdout.split('\n').filter((l) => l.includes('"report"'));
    const [line] = await streamed();
    expect(JSON.parse(line!)).toEqual({ report: counted.json!['report'] });
    // What the counts depend on is part of the key.
    expect((await streamed('--set', 'data.loss_mask=all'))[0]).not.toBe(line);
  });

  it('gives the page and the counts as JSON, or as lines while they come in', async () => {
    const whole = await preview('--rows', '3', '--start', '58', '--json');
    expect(whole.json).toMatchObject({ page: { start: 58, more: false }, report: { rows: 60 } });
    const { stdout } = await preview('--stream');
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines[0]).toMatchObject({
      settings: { file: path.join(folder, 'train.json'), lossMask: 'completion' },
    });
    expect(lines[1]).toMatchObject({
      page: { start: 0, more: true } satisfies Partial<PreviewPage>,
    });
    expect(lines.at(-1)).toMatchObject({
      report: { partial: false, rows: 60 } satisfies Partial<DatasetReport>,
    });
    const rows = await preview('--no-counts', '--json');
    expect(rows.json).toMatchObject({ report: null });
  });

  it('shows the rows that the counts flag', async () => {
    const rows = [
      { prompt: 'a=', completion: '1' },
      { prompt: 'b=', completion: ' ' },
      { prompt: 'c=', completion: '</s> 3' },
      { prompt: 'd=', completion: '' },
    ];
    writeFileSync(path.join(folder, 'odd.json'), JSON.stringify(rows));
    const counted = await preview('--data', 'odd.json', '--json');
    const { report } = counted.json as { report: DatasetReport };
    expect(report.flagged).toMatchObject({ empty: [1, 3], specialText: [2], truncated: [] });
    const { json } = await preview('--data', 'odd.json', '--no-counts', '--index', '3,1', '--json');
    const { page } = json as { page: PreviewPage };
    expect(page.rows.map(({ index }) => index)).toEqual([1, 3]);
  });

  it('needs no configuration for a file and a model', async () => {
    writeFileSync(path.join(folder, 'plain.jsonl'), '{"prompt":"1+1=","completion":"2"}\n');
    const args = ['--data', 'plain.jsonl', '--model', 'model', '--set', 'data.loss_mask=all'];
    const { code, stdout, stderr } = await runCli(['preview', ...args], folder);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain('1 rows, 1 sequences');
    const neither = await runCli(['preview'], folder);
    expect(neither.code).toBe(64);
  });

  it('does not let data drive the terminal', async () => {
    const file = path.join(folder, 'evil.json');
    writeFileSync(file, JSON.stringify([{ prompt: '\u001b]0;owned\u0007 ', completion: 'x' }]));
    const { code, stdout } = await preview('--data', 'evil.json');
    expect(code).toBe(0);
    expect(stdout).not.toContain('\u001b');
  });

  it('names the row that breaks the counts', async () => {
    writeFileSync(path.join(folder, 'bad.jsonl'), '{"prompt":"a","completion":"b"}\n{"a":1}\n{');
    const result = await preview('--data', 'bad.jsonl', '--rows', '2', '--json');
    expect(result.code).toBe(65);
    expect(result.json).toMatchObject({
      error: { code: 'data.malformed', where: `${path.join(folder, 'bad.jsonl')}:3` },
    });
  });
});
