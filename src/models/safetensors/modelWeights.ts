/** The weights of a model folder: one `model.safetensors`, or shards named by an index. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../../protocol/errors';
import { fileError, readText, resolveInside } from '../files';
import type { RawTensor, WeightDtype, WeightSource } from '../modelConfig';
import { asObject, parseStrictJson } from '../strictJson';
import { headerLimits } from './header';
import { SafetensorsFile } from './reader';

export const singleFileName = 'model.safetensors';
export const indexFileName = 'model.safetensors.index.json';
const shardName = /^[A-Za-z0-9._-]+\.safetensors$/;
const maxShards = 1000;

/** Weights of a folder, with what an export needs to keep its layout. */
export interface ModelWeights extends WeightSource {
  readonly folder: string;
  /** File names in the folder, sorted; one for an unsharded model. */
  readonly shards: readonly string[];
  /** Name of the shard that holds a tensor. */
  shardOf(name: string): string | undefined;
}

/**
 * Opens the weights of a folder and checks every header. As in transformers, `model.safetensors`
 * wins over an index.
 * @throws DotaError `file.missing` (a shard or all weights), `file.malformed`, `file.unreadable`,
 *   `model.unsupported` (pickle files)
 */
export async function openModelWeights(folder: string): Promise<ModelWeights> {
  let present: string[];
  try {
    present = await readdir(folder);
  } catch (cause) {
    throw fileError(cause, folder);
  }
  if (present.includes(singleFileName)) return openShards(folder, [singleFileName], undefined);
  if (present.includes(indexFileName)) {
    const file = await resolveInside(folder, indexFileName);
    const shown = path.join(folder, indexFileName);
    const weightMap = parseIndex(await readText(file, 64 * 1024 * 1024), shown);
    return openShards(folder, [...new Set(weightMap.values())].sort(), weightMap);
  }
  if (present.some((name) => /\.(bin|pt|pth|ckpt)$/.test(name))) {
    throw new DotaError(
      'model.unsupported',
      'The folder has weights only as pickle files, which can run code when loaded.',
      { where: folder, next: 'Download the safetensors version of this model.' },
    );
  }
  throw new DotaError('file.missing', `There is no ${singleFileName} and no ${indexFileName}.`, {
    where: folder,
    next: 'Choose a folder in Hugging Face layout.',
  });
}

/**
 * The `weight_map` of an index: tensor name to shard name.
 * @throws DotaError `file.malformed`
 */
export function parseIndex(text: string, where: string): ReadonlyMap<string, string> {
  const fail = (problem: string): DotaError =>
    new DotaError('file.malformed', problem, { where, next: 'Download the index again.' });
  const root = asObject(
    parseStrictJson(text, where, { maxDepth: 8, maxKeys: headerLimits.tensors + 1000 }),
  );
  const weightMap = asObject(root?.['weight_map']);
  if (weightMap === undefined) throw fail('The index has no weight_map.');
  const map = new Map<string, string>();
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !shardName.test(shard)) {
      const shown = JSON.stringify(shard).slice(0, 80);
      throw fail(`The index names the shard ${shown}, which is no plain safetensors file name.`);
    }
    map.set(name, shard);
  }
  if (map.size === 0) throw fail('The weight_map is empty.');
  return map;
}

async function openShards(
  folder: string,
  shards: readonly string[],
  weightMap: ReadonlyMap<string, string> | undefined,
): Promise<ModelWeights> {
  if (shards.length > maxShards) {
    throw new DotaError('file.malformed', `The index names ${shards.length} shards.`, {
      where: path.join(folder, indexFileName),
      next: `At most ${maxShards} are accepted.`,
    });
  }
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const shard of shards) {
      files.set(shard, await SafetensorsFile.open(await resolveInside(folder, shard)));
    }
    if (weightMap !== undefined) checkIndex(folder, weightMap, files);
  } catch (error) {
    await Promise.all([...files.values()].map((file) => file.close()));
    throw error;
  }
  return new ShardedWeights(folder, files);
}

/** Every tensor stands in the shard that the index says, and none is left over. */
function checkIndex(
  folder: string,
  weightMap: ReadonlyMap<string, string>,
  files: ReadonlyMap<string, SafetensorsFile>,
): void {
  const fail = (problem: string, shard: string): DotaError =>
    new DotaError('file.malformed', problem, {
      where: path.join(folder, shard),
      next: `Download this shard and ${indexFileName} again.`,
    });
  for (const [shard, file] of files) {
    for (const name of file.names) {
      if (weightMap.get(name) !== shard) {
        throw fail(
          `The shard holds ${JSON.stringify(name)}, the index places it elsewhere.`,
          shard,
        );
      }
    }
  }
  const held = new Set([...files.values()].flatMap((file) => file.names));
  for (const [name, shard] of weightMap) {
    if (!held.has(name)) {
      throw fail(`The index places ${JSON.stringify(name)} here, but the shard lacks it.`, shard);
    }
  }
}

class ShardedWeights implements ModelWeights {
  readonly names: readonly string[];
  readonly shards: readonly string[];
  private readonly owner = new Map<string, string>();

  constructor(
    readonly folder: string,
    private readonly files: ReadonlyMap<string, SafetensorsFile>,
  ) {
    this.shards = [...files.keys()];
    for (const [shard, file] of files) for (const name of file.names) this.owner.set(name, shard);
    this.names = [...this.owner.keys()];
  }

  shardOf(name: string): string | undefined {
    return this.owner.get(name);
  }

  info(name: string): { dtype: WeightDtype; shape: readonly number[] } | undefined {
    return this.fileOf(name)?.info(name);
  }

  async read(name: string): Promise<RawTensor> {
    const file = this.fileOf(name);
    if (file === undefined) {
      throw new DotaError('file.malformed', `There is no tensor ${JSON.stringify(name)}.`, {
        where: this.folder,
        next: 'Check that the weights belong to this config.json.',
      });
    }
    return file.read(name);
  }

  async close(): Promise<void> {
    await Promise.all([...this.files.values()].map((file) => file.close()));
  }

  private fileOf(name: string): SafetensorsFile | undefined {
    const shard = this.owner.get(name);
    return shard === undefined ? undefined : this.files.get(shard);
  }
}
