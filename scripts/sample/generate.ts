/**
 * Writes what the sample is made from: the pretraining text (JSON lines with a `text` field), the
 * tokenizer, the model's configuration and the fine-tuning sets.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeArithmetic } from './arithmetic';
import { writeJson } from './files';
import { drawDocuments } from './pretrainingText';
import { splits } from './problems';
import { Random } from './random';
import { sampleModelConfig } from './sampleModel';
import { makeTokenizer, type SampleTokenizer } from './tokenizerFiles';

export const sampleSizes = {
  trainDocuments: 60_000,
  validationDocuments: 600,
  vocabulary: 768,
  maxLength: 256,
  items: { train: 4000, validation: 200, test: 500 },
} as const;

export interface Generated {
  train: string[];
  validation: string[];
  tokenizer: SampleTokenizer;
}

/**
 * @param workFolder takes the pretraining text, and `init/`: the model to be, without weights
 * @param sampleFolder takes `model/` (all but the weights) and `data/`
 */
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
  const modelFiles = {
    'config.json': sampleModelConfig(tokenizer, sampleSizes.maxLength),
    ...tokenizer.files,
  };
  for (const folder of [path.join(workFolder, 'init'), path.join(sampleFolder, 'model')]) {
    mkdirSync(folder, { recursive: true });
    for (const [name, contents] of Object.entries(modelFiles)) {
      writeJson(path.join(folder, name), contents);
    }
  }
  mkdirSync(path.join(sampleFolder, 'data'), { recursive: true });
  for (const split of splits) {
    writeJson(path.join(sampleFolder, 'data', `arithmetic.${split}.json`), items[split]);
  }
  return { train, validation, tokenizer };
}
