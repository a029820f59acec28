/**
 * Memory and speed of tokenizing a dataset, and time to the preview's first page.
 *
 *   npm run bench -- dataset [--megabytes 50] [--rows 100000] [--json]
 *
 * Text with the sample's tokenizer; resident memory is read at each tenth of the file, the result
 * itself (`resultMb`, five bytes a token) included.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { runConfigSchema } from '../src/config/runConfig';
import { exampleOptions, prepareDataset } from '../src/data/prepare';
import { DatasetPreview } from '../src/data/preview';
import { TokenCache } from '../src/data/tokenCache';
import { readModelConfig } from '../src/models/config';
import { TensorCache } from '../src/models/tensorCache';
import { loadTokenizer } from '../src/models/tokenizer';

const { values } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '50' },
    rows: { type: 'string', default: '100000' },
    json: { type: 'boolean', default: false },
  },
});

const sentences = [
  'Ada has 12 apples and gives 5 of them to Ben, so 7 are left.',
  'A tensor network is a chain of cores, contracted from left to right.',
  'Naïve readers — and others — ask: why is the rank 8, not 64?',
];

/** Sentences with a running number, so that no two lines are alike. */
function textOf(bytes: number): string {
  const lines: string[] = [];
  let size = 0;
  for (let i = 0; size < bytes; i++) {
    const line = `${i}: ${sentences[i % sentences.length]!}`;
    lines.push(line);
    size += Buffer.byteLength(line) + 1;
  }
  return lines.join('\n');
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-bench-dataset-'));
try {
  const model = 'media/sample/model';
  const tokenizer = await loadTokenizer(model, (await readModelConfig(model)).vocabSize);
  const bytes = Number(values.megabytes) * 2 ** 20;
  writeFileSync(path.join(folder, 'text.txt'), textOf(bytes));
  const { data } = runConfigSchema.parse({ data: { train: 'text.txt', validation_split: 0 } });
  const cache = new TokenCache({
    cache: new TensorCache(path.join(folder, 'cache')),
    tokenizerHash: 'bench',
  });
  const resident: number[] = [];
  const prepare = () =>
    prepareDataset(data, tokenizer, {
      directory: folder,
      seed: 0,
      cache,
      onProgress: ({ fraction }) => {
        if (fraction * 10 >= resident.length + 1) {
          resident.push(Math.round(process.memoryUsage.rss() / 2 ** 20));
        }
      },
    });
  let started = performance.now();
  const { train } = await prepare();
  const seconds = (performance.now() - started) / 1000;
  started = performance.now();
  await prepare();
  const cachedSeconds = (performance.now() - started) / 1000;

  const rows = Array.from({ length: Number(values.rows) }, (_, i) =>
    JSON.stringify({ prompt: `${i} ${sentences[i % 3]!} `, completion: sentences[(i + 1) % 3]! }),
  );
  const file = path.join(folder, 'rows.jsonl');
  writeFileSync(file, rows.join('\n'));
  const preview = new DatasetPreview(file, tokenizer, exampleOptions(data, 'jsonl'));
  started = performance.now();
  await preview.page(0, 20);
  const pageSeconds = (performance.now() - started) / 1000;
  await preview.count(() => undefined);
  const countSeconds = (performance.now() - started) / 1000;

  const result = {
    megabytes: Number(values.megabytes),
    tokens: train.tokens,
    seconds,
    tokensPerSecond: train.tokens / seconds,
    residentMbByTenth: resident,
    resultMb: Math.round((5 * train.tokens) / 2 ** 20),
    cachedSeconds,
    previewRows: rows.length,
    firstPageSeconds: pageSeconds,
    countSeconds,
  };
  if (values.json) console.log(JSON.stringify(result));
  else console.log(result);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
