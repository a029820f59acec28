/**
 * Makes everything in `media/sample` from one seed and prints the baselines beside it: text,
 * tokenizer and task sets, pretraining, the demo's fine-tuning, the same on random weights.
 * Usage: node scripts/run-ts.mjs scripts/sample/make.ts [--keep-model] [--seed n]
 *   --keep-model  skip the pretraining and measure the model that is there
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Tokenizer } from '@huggingface/tokenizers';
import { countParameters, readModelConfig } from '../../src/models/config';
import type { InstructionItem } from './arithmetic';
import { bagOfWordsAccuracy, mostFrequentAnswerAccuracy } from './bagOfWords';
import { moduleEnergies } from './energy';
import { exportModel, lastCheckpoint } from './exportModel';
import { writeJson } from './files';
import { generate, type Generated } from './generate';
import { modelCard } from './modelCard';
import { demo, pretraining } from './recipe';
import { formatFigures, type SampleFigures } from './report';
import { baseLoss, buildTrainer, exactMatch, train } from './trainer';
import { TrigramModel } from './trigram';

const { values } = parseArgs({
  options: { 'keep-model': { type: 'boolean', default: false }, seed: { type: 'string' } },
});
const seed = Number(values.seed ?? 0);
const workFolder = path.resolve('.cache/sample');
const sampleFolder = path.resolve('media/sample');
const modelFolder = path.join(sampleFolder, 'model');

const generated = generate(workFolder, sampleFolder, seed);
writeJson(path.join(sampleFolder, 'arithmetic.dota.json'), demo);
buildTrainer();

if (!values['keep-model']) {
  const pretrained = train(workFolder, 'pretraining', pretraining);
  await exportModel(lastCheckpoint(pretrained.folder), modelFolder);
}

// Paths of the demo's configuration refer to the sample's folder.
const demoThere = {
  ...demo,
  model: modelFolder,
  data: {
    ...demo.data,
    train: dataFile('train'),
    validation: dataFile('validation'),
    test: undefined,
  },
};
const tuned = train(workFolder, 'arithmetic', demoThere);
const fromRandom = train(workFolder, 'random-base', { ...demoThere, model_init: 'random' });

const cores = demo.adapter?.mpo_cores ?? 3;
const r = demo.adapter?.r ?? 8;
const figures: SampleFigures = {
  seed,
  pretraining: {
    parameters: countParameters(await readModelConfig(modelFolder)),
    steps: pretraining.training?.max_steps ?? NaN,
    // Of the committed weights, rounded to bf16.
    validationLoss: baseLoss(workFolder, 'pretrained', {
      ...pretraining,
      model: modelFolder,
      model_init: 'pretrained',
    }),
    trigramValidationLoss: trigramLoss(generated),
  },
  arithmetic: {
    testItems: readItems('test').length,
    steps: tuned.manifest.progress?.step ?? NaN,
    trainableParameters: tuned.manifest.trainable?.parameters ?? NaN,
    accuracyBefore: exactMatch(path.join(workFolder, 'arithmetic.dota.json'), dataFile('test')),
    accuracy: exactMatch(tuned.folder, dataFile('test')),
    validationLoss: tuned.manifest.last?.validationLoss ?? NaN,
    accuracyFromRandomBase: exactMatch(fromRandom.folder, dataFile('test')),
    accuracyOfBagOfWords: bagOfWordsAccuracy(readItems('train'), readItems('test')),
    accuracyOfMostFrequentAnswer: mostFrequentAnswerAccuracy(readItems('train'), readItems('test')),
  },
  mpo: { cores, r, modules: await moduleEnergies(modelFolder, cores, r, seed) },
};
writeJson(path.join(sampleFolder, 'figures.json'), figures);
writeFileSync(path.join(modelFolder, 'README.md'), modelCard(figures));
console.log(formatFigures(figures));

function dataFile(split: string): string {
  return path.join(sampleFolder, 'data', `arithmetic.${split}.json`);
}

function readItems(split: string): InstructionItem[] {
  return JSON.parse(readFileSync(dataFile(split), 'utf8')) as InstructionItem[];
}

/** On the targets that the pretraining's validation loss is about. */
function trigramLoss({ train: texts, validation, tokenizer }: Generated): number {
  const encoder = new Tokenizer(
    tokenizer.files['tokenizer.json'] as object,
    tokenizer.files['tokenizer_config.json'] as object,
  );
  const encode = (text: string): number[] => [...encoder.encode(text).ids, tokenizer.endId];
  return new TrigramModel(texts.map(encode), tokenizer.vocabularySize).loss(validation.map(encode));
}
