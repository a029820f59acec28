/** Datasets and chat templates from elsewhere, mutated. */
import fc from 'fast-check';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ExampleEncoder } from '../../../src/data/examples';
import { readRows } from '../../../src/data/readers/dataset';
import { ChatTemplate } from '../../../src/data/templates/chatTemplate';
import type { ChatMessage } from '../../../src/data/templates/rendered';
import { Tokenizer } from '../../../src/models/tokenizer';
import { parseTokenizerFile } from '../../../src/models/tokenizerFile';
import { cases, jsonWithKeys, mutations, owesAnswer } from '../support/fuzz';

const fixtures = path.join(import.meta.dirname, '../../fixtures');
let folder: string;
let tokenizer: Tokenizer;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'dota-fuzz-'));
  const text = await readFile(path.join(fixtures, 'tokenizer/qwen.json'), 'utf8');
  const chatTemplate =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  tokenizer = new Tokenizer(
    parseTokenizerFile(text, 't'),
    { eosToken: '<|im_end|>', chatTemplate },
    't',
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Reads and encodes every row. */
async function consume(file: string): Promise<void> {
  const encoder = new ExampleEncoder(tokenizer, {
    template: 'auto',
    lossMask: 'assistant',
    maxLength: 64,
    truncation: 'keep_start',
  });
  for await (const { row, line } of readRows(file)) {
    const { examples } = encoder.encode(row, { file, line });
    for (const { inputIds, lossMask } of examples) {
      expect(inputIds.length).toBe(lossMask.length);
      expect(inputIds.length).toBeLessThanOrEqual(64);
      expect(inputIds.every((id) => id >= 0 && id < tokenizer.vocabSize)).toBe(true);
    }
  }
}

const rows = [
  { instruction: 'a "b" \\ c', input: '', output: 'd\né', answer: '1' },
  {
    messages: [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'yo <|im_end|>' },
    ],
  },
  {
    conversations: [
      { from: 'human', value: 'hi' },
      { from: 'gpt', value: 'yo' },
    ],
  },
  { prompt: 'p', completion: 'c' },
  { text: 'plain 😀' },
];
const keys = [
  'instruction',
  'input',
  'output',
  'messages',
  'role',
  'content',
  'from',
  'value',
  'text',
  'prompt',
  'completion',
  'tools',
];

// Seconds on an idle machine; the limit is for a busy one and for the full suite's counts.
describe('mutated', { timeout: 1_200_000 }, () => {
  it.each([
    ['JSONL', 'rows.jsonl', rows.map((row) => JSON.stringify(row)).join('\n')],
    ['JSON arrays', 'rows.json', JSON.stringify(rows, null, 1)],
    ['CSV', 'rows.csv', 'instruction,output\r\n"a ""b""\nc",d\r\ne,f\r\n'],
  ])('%s are read or refused', async (_name, name, base) => {
    const file = path.join(folder, name);
    await fc.assert(
      fc.asyncProperty(mutations(Buffer.from(base)), async (bytes) => {
        await writeFile(file, bytes);
        await owesAnswer(() => consume(file));
      }),
      { numRuns: cases },
    );
  });

  it('rows of any shape are encoded or refused', async () => {
    const file = path.join(folder, 'made.jsonl');
    await fc.assert(
      fc.asyncProperty(
        fc.array(jsonWithKeys(keys), { minLength: 1, maxLength: 3 }),
        async (made) => {
          await writeFile(file, made.map((row) => JSON.stringify(row)).join('\n'));
          await owesAnswer(() => consume(file));
        },
      ),
      { numRuns: cases },
    );
  });

  it('Parquet files are read or refused', async () => {
    const file = path.join(folder, 'rows.parquet');
    const bases = await Promise.all(
      ['none', 'snappy', 'gzip', 'zstd'].map((codec) =>
        readFile(path.join(fixtures, `data/rows.${codec}.parquet`)),
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof(...bases.map(mutations)), async (bytes) => {
        await writeFile(file, bytes);
        await owesAnswer(() => consume(file));
      }),
      { numRuns: cases },
    );
  });

  it('chat templates render or are refused', async () => {
    const { templates } = JSON.parse(
      await readFile(path.join(fixtures, 'data/chat.json'), 'utf8'),
    ) as { templates: Record<string, string> };
    const messages: ChatMessage[] = [
      { role: 'system', content: 's' },
      { role: 'user', content: 'u <|im_end|>' },
      { role: 'assistant', content: 'a</think>b' },
    ];
    const bases = Object.values(templates).map((source) => mutations(Buffer.from(source)));
    await fc.assert(
      fc.asyncProperty(fc.oneof(...bases), (bytes) =>
        owesAnswer(() => {
          const template = new ChatTemplate(
            bytes.toString('utf8'),
            { bosToken: '<s>' },
            'template',
          );
          template.render(messages, { addGenerationPrompt: true });
        }),
      ),
      { numRuns: cases },
    );
  });
});
