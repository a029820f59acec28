/**
 * Writes what the sample is made from: the pretraining text (JSON lines with a `text` field), the
 * tokenizer and the fine-tuning sets. Usage: generate.ts <work folder> <sample folder> <seed>
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeArithmetic } from './arithmetic';
import { drawDocuments } from './pretrainingText';
import { splits } from './problems';
import { Random } from './random';
import { makeTokenizer, type SampleTokenizer } from './tokenizerFiles';

export const sampleSizes = {
  trainDocuments: 60_000,
  validationDocuments: 600,
  vocabulary: 768,
  maxLength: 256,
  items: { train: 4000, validation: 200, test: 600 },
} as const;

export interface Generated {
  train: string[];
  validation: string[];
  tokenizer: SampleTokenizer;
}

export function generate(workFolder: string, sampleFolder: string, seed: number): Generated {
  const train = drawDocuments(new Random(seed), sampleSizes.trainDocuments);
  const validation = drawDocuments(
    new Random(seed + 1),
    sampleSizes.validationDocuments,
    new Set(train),
  );
  const tokenizer = makeTokenizer(train, sampleSizes.vocabulary, sampleSizes.maxLength);
  const items = makeArithmetic(new Random(seed + 2), sampleSizes.items);

  mkdirSync(workFolder, { recursive: true });
  for (const [name, documents] of Object.entries({ train, validation })) {
    const lines = documents.map((text) => JSON.stringify({ text }));
    writeFileSync(path.join(workFolder, `pretraining.${name}.jsonl`), `${lines.join('\n')}\n`);
  }
  mkdirSync(path.join(sampleFolder, 'model'), { recursive: true });
  for (const [name, contents] of Object.entries(tokenizer.files)) {
    writeJson(path.join(sampleFolder, 'model', name), contents);
  }
  mkdirSync(path.join(sampleFolder, 'data'), { recursive: true });
  for (const split of splits) {
    writeJson(path.join(sampleFolder, 'data', `arithmetic.${split}.json`), items[split]);
  }
  return { train, validation, tokenizer };
}

export function writeJson(file: string, value: unknown): void {
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}

const [workFolder, sampleFolder, seed] = process.argv.slice(2);
if (workFolder !== undefined && sampleFolder !== undefined) {
  const g = generate(workFolder, sampleFolder, Number(seed ?? 0));
  console.log(g.tokenizer.vocabularySize, g.train.slice(0, 6).join('\n---\n'));
}
