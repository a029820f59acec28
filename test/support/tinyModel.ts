/** A model folder with the sample’s tokenizer, few layers and random weights: a step takes milliseconds. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expectedWeights, readModelConfig } from '../../src/models/config';
import { f32ToBf16 } from '../../src/models/dtype';
import { writeSafetensors } from '../../src/models/safetensors/writer';

const sample = path.resolve('media/sample/model');

/** A small linear congruential generator: the same model every time. */
function* uniform(seed: number): Generator<number, never> {
  let state = seed >>> 0;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32 - 0.5;
  }
}

export async function writeTinyModel(
  folder: string,
  layers = 1,
  intermediate = 256,
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const config = JSON.parse(readFileSync(path.join(sample, 'config.json'), 'utf8')) as object;
  const small = { ...config, num_hidden_layers: layers, intermediate_size: intermediate };
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(small, null, 2));
  for (const name of [
    'generation_config.json',
    'special_tokens_map.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ])
    copyFileSync(path.join(sample, name), path.join(folder, name));
  const numbers = uniform(7);
  const tensors = [...expectedWeights(await readModelConfig(folder))].map(([name, shape]) => {
    const values = Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => (shape.length === 1 ? 1 : 0) + numbers.next().value * 0.2,
    );
    return { name, dtype: 'BF16' as const, shape, data: f32ToBf16(values) };
  });
  await writeSafetensors(path.join(folder, 'model.safetensors'), tensors);
}
