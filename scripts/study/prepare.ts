/**
 * Makes what the study of the sample needs beside the sample itself: the second task family, and the
 * base models of the ablations over pretraining length and width. Without arguments these get their
 * configuration and tokenizer only, which is all that planning needs; the weights of those named are
 * pretrained, which takes minutes. What is there already is kept.
 * Usage: node scripts/run-ts.mjs scripts/study/prepare.ts [name ...]
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { RunConfigInput } from '../../src/config/runConfig';
import { exportModel, lastCheckpoint } from '../sample/exportModel';
import { writeJson } from '../sample/files';
import { generate, sampleSizes } from '../sample/generate';
import { makeStudyLists } from '../sample/lists';
import { splits } from '../sample/problems';
import { Random } from '../sample/random';
import { pretraining } from '../sample/recipe';
import { train } from '../sample/trainer';
import { variantConfig, variants } from './variants';

const root = path.resolve('.cache/study');
const data = path.join(root, 'data');
const work = path.join(root, 'pretraining');
const sample = path.resolve('media/sample/model');

const lists = makeStudyLists(new Random(3), sampleSizes.items);
mkdirSync(data, { recursive: true });
for (const split of splits) writeJson(path.join(data, `lists.${split}.json`), lists[split]);

const names = process.argv.slice(2);
for (const { name, width, steps } of variants) {
  const folder = path.join(root, 'models', name);
  describeModel(folder, width);
  if (!names.includes(name) || existsSync(path.join(folder, 'model.safetensors'))) continue;
  if (!existsSync(path.join(work, 'pretraining.train.jsonl'))) {
    generate(work, path.join(root, 'generated'), 0);
  }
  const config: RunConfigInput = {
    ...pretraining,
    model: folder,
    training: { ...pretraining.training, max_steps: steps },
  };
  const began = performance.now();
  const run = train(work, name, config);
  await exportModel(lastCheckpoint(run.folder), folder);
  const minutes = (performance.now() - began) / 60_000;
  console.log(`${name}: ${steps} steps of pretraining in ${minutes.toFixed(1)} minutes`);
}
const unknown = names.filter((name) => variants.every((variant) => variant.name !== name));
if (unknown.length > 0) throw new Error(`No such model: ${unknown.join(', ')}.`);

/** The sample's tokenizer and its configuration at another width. */
function describeModel(folder: string, width: number): void {
  mkdirSync(folder, { recursive: true });
  const read = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(path.join(sample, name), 'utf8')) as Record<string, unknown>;
  writeJson(path.join(folder, 'config.json'), variantConfig(read('config.json'), width));
  for (const name of [
    ...['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'],
    'generation_config.json',
  ]) {
    writeJson(path.join(folder, name), read(name));
  }
}
