/**
 * `npm run bench -- tokenize [--mb 50]`: text through the tokenizer pipeline of a run (reader,
 * encoder, set), in tokens a second, with the memory that grows besides the tokens themselves. The
 * text is this repository's own documents and code, repeated. Prints one JSON object a tokenizer.
 */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  openSync,
  writeSync,
  closeSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ExampleEncoder } from '../src/data/examples';
import { readRows } from '../src/data/readers/dataset';
import { TokenizedSet } from '../src/data/tokenizedSet';
import { Tokenizer } from '../src/models/tokenizer';
import { parseTokenizerFile } from '../src/models/tokenizerFile';

const megabytes = Number(process.argv[process.argv.indexOf('--mb') + 1]) || 50;
const tokenizers = {
  llama2: 'test/fixtures/tokenizer/llama2.json',
  llama3: 'test/fixtures/tokenizer/llama3.json',
  qwen: 'test/fixtures/tokenizer/qwen.json',
};

const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-bench-tokenize-'));
try {
  const file = path.join(folder, 'rows.jsonl');
  const bytes = writeText(file);
  for (const [name, source] of Object.entries(tokenizers)) {
    const tokenizer = new Tokenizer(
      parseTokenizerFile(readFileSync(source, 'utf8'), name),
      {},
      name,
    );
    const encoder = new ExampleEncoder(tokenizer, {
      template: 'auto',
      lossMask: 'all',
      maxLength: 1_000_000,
      truncation: 'keep_start',
    });
    // Room for all tokens from the start, so that what grows is not the result.
    const set = new TokenizedSet(bytes);
    let rows = 0;
    let early = 0;
    let peak = 0;
    const started = performance.now();
    for await (const { row, line } of readRows(file)) {
      for (const { inputIds, lossMask } of encoder.encode(row, { file, line }).examples) {
        set.add(inputIds, lossMask);
      }
      if (++rows % 500 !== 0) continue;
      // What the process holds besides the pages of the result that have been written to.
      const rss = process.memoryUsage.rss() - 5 * set.tokens;
      peak = Math.max(peak, rss);
      if (early === 0 && set.tokens > bytes / 40) early = rss;
    }
    const seconds = (performance.now() - started) / 1000;
    console.log(
      JSON.stringify({
        bench: 'tokenize',
        tokenizer: name,
        megabytes: Math.round(bytes / 1e6),
        tokens: set.tokens,
        tokens_per_second: Math.round(set.tokens / seconds),
        megabytes_per_second: bytes / 1e6 / seconds,
        grown_mb: Math.round((peak - early) / 1e6),
      }),
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Rows of one paragraph each. @returns bytes of text */
function writeText(file: string): number {
  const documents = ['.', 'docs', 'src/core/mpo', 'src/models', 'src/trainer'].flatMap((where) =>
    readdirSync(where)
      .filter((name) => /\.(md|ts)$/.test(name))
      .map((name) => readFileSync(path.join(where, name), 'utf8')),
  );
  const paragraphs = documents.join('\n\n').split(/\n\n+/).filter(Boolean);
  const handle = openSync(file, 'w');
  let bytes = 0;
  for (let i = 0; bytes < megabytes * 1e6; i++) {
    const text = paragraphs[i % paragraphs.length] as string;
    bytes += Buffer.byteLength(text);
    writeSync(handle, `${JSON.stringify({ text })}\n`);
  }
  closeSync(handle);
  return bytes;
}
