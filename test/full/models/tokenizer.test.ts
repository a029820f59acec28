/**
 * Token ids against the reference on many more strings than are committed. The reference is
 * Hugging Face's tokenizers in two bindings: the native package of npm gives ids and decoded texts; the
 * one of Python trains the three tokenizers, draws the strings, and has in addition the mode that takes
 * special tokens literally, which npm's lacks.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tokenizer } from '../../../src/models/tokenizer';
import { parseTokenizerFile } from '../../../src/models/tokenizerFile';
import { judgesPackages, runJudge, runNodeJudge } from '../support/judges';

interface Reference {
  strings: string[];
  ids: Record<string, { match: number[][]; literal: Record<string, number[]>; decoded: string[] }>;
}

type Native = Record<string, { ids: number[][]; decoded: string[]; prefix: number[] }>;

const judge = path.join(import.meta.dirname, 'judges/nativeTokenizers.mjs');
const fixtures = path.resolve('test/fixtures/tokenizer');
const styles = ['llama2', 'llama3', 'qwen'];

describe.runIf(process.env['DOTA_FULL'])('the tokenizers library', () => {
  let folder: string;
  const at = (name: string): string => path.join(folder, name);

  beforeAll(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'dota-tokenizers-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function native(texts: readonly string[], files: readonly string[]): Native {
    writeFileSync(at('texts.json'), JSON.stringify(texts));
    return runNodeJudge(judge, [judgesPackages(), at('texts.json'), ...files]) as Native;
  }

  function load(file: string): Tokenizer {
    return new Tokenizer(parseTokenizerFile(readFileSync(file, 'utf8'), file), {}, file);
  }

  it('gives the same ids and texts for 20,000 random strings in three styles', () => {
    runJudge(path.join(fixtures, 'generate.py'), ['20000', folder]);
    const reference = JSON.parse(readFileSync(at('ids.json'), 'utf8')) as Reference;
    const { strings } = reference;
    expect(strings.length).toBeGreaterThan(20_000);
    const files = styles.map((name) => at(`${name}.json`));
    const natives = native(strings, files);
    for (const [n, file] of files.entries()) {
      const tokenizer = load(file);
      const { ids, decoded, prefix } = natives[file]!;
      const python = reference.ids[styles[n]!]!;
      expect(tokenizer.prefixIds).toEqual(prefix);
      const wrong = strings.filter((string, i) => {
        const match = ids[i]!;
        const literal = python.literal[i] ?? match;
        return (
          python.match[i]!.join() !== match.join() ||
          tokenizer.encode(string, { special: 'match' }).join() !== match.join() ||
          tokenizer.encode(string).join() !== literal.join() ||
          tokenizer.decode(match) !== decoded[i]
        );
      });
      expect(wrong, file).toEqual([]);
    }
  });

  it('gives the committed ids in its native package too', () => {
    const { strings, ids } = JSON.parse(
      readFileSync(path.join(fixtures, 'ids.json'), 'utf8'),
    ) as Reference;
    const files = styles.map((name) => path.join(fixtures, `${name}.json`));
    const natives = native(strings, files);
    for (const [n, file] of files.entries()) {
      expect(natives[file]!.ids, file).toEqual(ids[styles[n]!]!.match);
      expect(natives[file]!.decoded, file).toEqual(ids[styles[n]!]!.decoded);
    }
  });
});
