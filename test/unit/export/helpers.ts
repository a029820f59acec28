/** A tiny model folder and adapters that the export tests share. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Rng } from '../../../src/core/rng';
import type { Core } from '../../../src/core/mpo/types';
import type { AdaptedModule } from '../../../src/export/adapterState';
import { expectedWeights, parseModelConfig } from '../../../src/models/config';
import { fromFloat32, type FloatDtype } from '../../../src/models/dtype';
import { writeSafetensors, type TensorToWrite } from '../../../src/models/safetensors/writer';

export const tinyConfig = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  vocab_size: 32,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
};
export const config = parseModelConfig(JSON.stringify(tinyConfig), 'config.json');

/** Writes random weights, in two shards where asked. */
export async function writeModel(
  folder: string,
  options: { dtype?: FloatDtype; sharded?: boolean } = {},
): Promise<void> {
  const { dtype = 'BF16', sharded = false } = options;
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(tinyConfig));
  const tensors = [...expectedWeights(config)].map(([name, shape]): TensorToWrite => {
    const size = shape.reduce((a, n) => a * n, 1);
    const values = name.endsWith('norm.weight')
      ? new Float32Array(size).fill(1)
      : new Rng(1, name).normals(size, 0.3);
    return { name, shape, dtype, data: fromFloat32(dtype, values) };
  });
  if (!sharded) {
    await writeSafetensors(path.join(folder, 'model.safetensors'), tensors);
    return;
  }
  const map: Record<string, string> = {};
  for (const [part, shard] of [
    [tensors.slice(0, 9), 'model-00001-of-00002.safetensors'],
    [tensors.slice(9), 'model-00002-of-00002.safetensors'],
  ] as const) {
    await writeSafetensors(path.join(folder, shard), part);
    for (const { name } of part) map[name] = shard;
  }
  const index = JSON.stringify({ metadata: {}, weight_map: map });
  await writeFile(path.join(folder, 'model.safetensors.index.json'), index);
}

function chain(
  seed: number,
  purpose: string,
  pairs: readonly [number, number][],
  bond: number,
): Core[] {
  const rng = new Rng(seed, purpose);
  return pairs.map(([i, j], k): Core => {
    const shape = [k === 0 ? 1 : bond, i, j, k === pairs.length - 1 ? 1 : bond] as const;
    return {
      shape,
      data: rng.normals(
        shape.reduce((a, n) => a * n, 1),
        0.5,
      ),
    };
  });
}

/** A module with trained and initial cores; 3 x 4 by 2 x 4 covers 12 x 8, 4 x 4 covers more than needed. */
export function mpoModule(
  modulePath: string,
  orientation: 'out' | 'in',
  withInitial: boolean,
): AdaptedModule {
  const up = modulePath.endsWith('up_proj');
  const [outFeatures, inFeatures] = up ? [12, 8] : [8, 8];
  const out: [number, number] = up ? [3, 4] : [3, 3];
  const input: [number, number] = [2, 4];
  const pairs: [number, number][] =
    orientation === 'out'
      ? [
          [out[0], input[0]],
          [out[1], input[1]],
        ]
      : [
          [input[0], out[0]],
          [input[1], out[1]],
        ];
  return {
    path: modulePath,
    outFeatures,
    inFeatures,
    update: {
      kind: 'mpo',
      cores: chain(1, modulePath, pairs, 3),
      initialCores: withInitial ? chain(2, modulePath, pairs, 3) : undefined,
      orientation,
    },
  };
}

/** The change of a weight by its definition, entry by entry in fp64. */
export function explicitDelta(module: AdaptedModule): Float64Array {
  const { update, outFeatures, inFeatures } = module;
  const result = new Float64Array(outFeatures * inFeatures);
  if (update.kind !== 'mpo') return result;
  for (let o = 0; o < outFeatures; o++) {
    for (let i = 0; i < inFeatures; i++) {
      const [row, col] = update.orientation === 'out' ? [o, i] : [i, o];
      const value = (cores: readonly Core[]): number => entry(cores, row, col);
      result[o * inFeatures + i] =
        value(update.cores) - (update.initialCores === undefined ? 0 : value(update.initialCores));
    }
  }
  return result;
}

function entry([first, second]: readonly Core[], row: number, col: number): number {
  const [, , j1, bond] = first!.shape;
  const [, i2, j2] = second!.shape;
  let sum = 0;
  for (let d = 0; d < bond; d++) {
    const a = first!.data[(Math.floor(row / i2) * j1 + Math.floor(col / j2)) * bond + d]!;
    const b = second!.data[(d * i2 + (row % i2)) * j2 + (col % j2)]!;
    sum += a * b;
  }
  return sum;
}

export const layerPath = (layer: number, name: string): string => `model.layers.${layer}.${name}`;

/** Two kinds of modules in both layers. */
export function allModules(orientation: 'out' | 'in', withInitial = true): AdaptedModule[] {
  return [0, 1].flatMap((layer) =>
    ['self_attn.q_proj', 'mlp.up_proj'].map((name) =>
      mpoModule(layerPath(layer, name), orientation, withInitial),
    ),
  );
}
