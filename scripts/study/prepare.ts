/**
 * Makes what the study of the sample needs beside the sample itself: the second task family and, with
 * `--models`, the base models of the ablations over pretraining length and width. What is there already
 * is kept. Usage: node scripts/run-ts.mjs scripts/study/prepare.ts [--models]
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { RunConfigInput } from '../../src/config/runConfig';
import { exportModel, lastCheckpoint } from '../sample/exportModel';
import { writeJson } from '../sample/files';
import { generate, sampleSizes } from '../sample/generate';
import { makeLists } from '../sample/lists';
import { splits } from '../sample/problems';
import { Random } from '../sample/random';
import { pretraining } from '../sample/recipe';
import { train } from '../sample/trainer';

const root = path.resolve('.cache/study');
const data = path.join(root, 'data');
mkdirSync(data, { recursive: true });

const lists = makeLists(new Random(3), sampleSizes.items);
for (const split of splits) writeJson(path.join(data, `lists.${split}.json`), lists[split]);

if (process.argv.includes('--models')) {
  const work = path.join(root, 'pretraining');
  const steps = pretraining.training?.max_steps ?? 0;
  const variants: readonly { name: string; width: number; steps: number }[] = [
    { name: 'quarter', width: 128, steps: Math.round(steps / 4) },
    { name: 'width64', width: 64, steps },
    { name: 'width256', width: 256, steps },
  ];
  if (variants.some(({ name }) => !existsSync(modelFile(name)))) {
    generate(work, path.join(root, 'generated'), 0);
  }
  for (const { name, width, steps: length } of variants) {
    if (existsSync(modelFile(name))) continue;
    const init = path.join(work, `init-${name}`);
    copyInit(path.join(work, 'init'), init, width);
    const config: RunConfigInput = {
      ...pretraining,
      model: `init-${name}`,
      training: { ...pretraining.training, max_steps: length },
    };
    const { folder } = train(work, name, config);
    copyInit(init, path.dirname(modelFile(name)), width);
    await exportModel(lastCheckpoint(folder), path.dirname(modelFile(name)));
  }
}

function modelFile(name: string): string {
  return path.join(root, 'models', name, 'model.safetensors');
}

/** Tokenizer and configuration, at another width; heads keep their size where that divides it. */
function copyInit(from: string, to: string, width: number): void {
  mkdirSync(to, { recursive: true });
  const read = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(path.join(from, name), 'utf8')) as Record<string, unknown>;
  const heads = width / 32;
  writeJson(path.join(to, 'config.json'), {
    ...read('config.json'),
    hidden_size: width,
    intermediate_size: 4 * width,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    // About 1 / sqrt(fan_in), as at width 128.
    initializer_range: Number((0.68 / Math.sqrt(width)).toFixed(3)),
  });
  for (const name of [
    ...['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'],
    'generation_config.json',
  ]) {
    writeJson(path.join(to, name), read(name));
  }
}
