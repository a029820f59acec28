/** `dota preview` on a real configuration. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

  it('gives the page and the counts as JSON, or as lines while they come in', async () => {
    const whole = await preview('--rows', '3', '--start', '58', '--json');
    expect(whole.json).toMatchObject({ page: { start: 58, more: false }, report: { rows: 60 } });
    const { stdout } = await preview('--stream');
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines[0]).toMatchObject({
      page: { start: 0, more: true } satisfies Partial<PreviewPage>,
    });
    expect(lines.at(-1)).toMatchObject({
      report: { partial: false, rows: 60 } satisfies Partial<DatasetReport>,
    });
    const rows = await preview('--no-counts', '--json');
    expect(rows.json).toMatchObject({ report: null });
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
