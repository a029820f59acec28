/** Token ids against the reference on many more strings than are committed. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../../src/models/tokenizer';
import { parseTokenizerFile } from '../../../src/models/tokenizerFile';
import { runJudge } from '../support/judges';

interface Reference {
  strings: string[];
  ids: Record<string, { match: number[][]; literal: Record<string, number[]>; decoded: string[] }>;
}

describe.runIf(process.env['DOTA_FULL'])('the tokenizers library', () => {
  it('gives the same ids and texts for 20,000 random strings in three styles', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-tokenizers-'));
    const script = path.join(import.meta.dirname, '../../fixtures/tokenizer/generate.py');
    runJudge(script, ['20000', folder]);
    const reference = JSON.parse(
      await readFile(path.join(folder, 'ids.json'), 'utf8'),
    ) as Reference;
    expect(reference.strings.length).toBeGreaterThan(20_000);
    for (const [name, expected] of Object.entries(reference.ids)) {
      const text = await readFile(path.join(folder, `${name}.json`), 'utf8');
      const tokenizer = new Tokenizer(parseTokenizerFile(text, name), {}, name);
      const wrong = reference.strings.filter((string, i) => {
        const match = expected.match[i]!;
        const literal = expected.literal[i] ?? match;
        return (
          tokenizer.encode(string, { special: 'match' }).join() !== match.join() ||
          tokenizer.encode(string).join() !== literal.join() ||
          tokenizer.decode(match) !== expected.decoded[i]
        );
      });
      expect(wrong, name).toEqual([]);
    }
    await rm(folder, { recursive: true, force: true });
  });
});
