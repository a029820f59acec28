/**
 * The merged model as a folder in Hugging Face layout: the source's types, shards and other files,
 * with the trained change added to the weights it belongs to.
 */
import { copyFile, mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { fromFloat32, toFloat32, type FloatDtype } from '../models/dtype';
import { fileError, resolveInside } from '../models/files';
import type { RawTensor } from '../models/modelConfig';
import type { ModelFolder } from '../models/modelFolder';
import {
  indexFileName,
  singleFileName,
  type ModelWeights,
} from '../models/safetensors/modelWeights';
import { SafetensorsFile } from '../models/safetensors/reader';
import { writeSafetensors, type TensorToWrite } from '../models/safetensors/writer';
import { DotaError } from '../protocol/errors';
import { writeFileAtomic } from '../runs/atomicFile';
import { changedValues, type WeightChanges } from './weightChanges';

export interface MergedReport {
  /** Tensors that differ from the base. */
  changed: number;
  /**
   * Largest share of a tensor's change that rounding to the file's type took away,
   * ||stored - exact|| / ||change||, and the tensor.
   */
  worstRounding: { tensor: string; loss: number } | undefined;
}

/** Files besides the weights that make a folder complete for other programs. */
const companionFiles: ReadonlySet<string> = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'LICENSE',
  'LICENSE.txt',
  'LICENSE.md',
  'USE_POLICY.md',
  'NOTICE',
]);

/**
 * Writes the folder beside its place and renames it when it is complete.
 * @param target must not exist, or be an empty folder
 * @param card text of `README.md`
 * @throws DotaError `file.unreadable` (target not empty), `file.diskFull`, `train.nonFinite` when a
 *   value does not fit the file's type
 */
export async function writeMergedModel(
  model: ModelFolder,
  changes: WeightChanges,
  target: string,
  card: (report: MergedReport) => string,
  onProgress?: (fraction: number) => void,
): Promise<MergedReport> {
  await requireEmpty(target);
  const stage = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  const merge = new Merge(model.weights, changes, onProgress);
  try {
    await mkdir(stage, { recursive: true });
    for (const shard of model.weights.shards) await merge.writeShard(shard, stage);
    if (!isSingle(model.weights)) await writeIndex(model.weights, stage);
    for (const name of await readdir(model.folder)) {
      if (!companionFiles.has(name)) continue;
      await copyFile(await resolveInside(model.folder, name), path.join(stage, name));
    }
    await writeFileAtomic(path.join(stage, 'README.md'), card(merge.report));
    await rmdir(target).catch(() => undefined);
    await rename(stage, target);
  } catch (cause) {
    await rm(stage, { recursive: true, force: true });
    throw fileError(cause, target);
  }
  return merge.report;
}

async function requireEmpty(target: string): Promise<void> {
  const names = await readdir(target).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw fileError(cause, target);
  });
  if (names.length === 0) return;
  throw new DotaError('file.unreadable', 'The folder is not empty.', {
    where: target,
    next: 'Choose a new folder, so that nothing is overwritten.',
  });
}

function isSingle(weights: ModelWeights): boolean {
  return weights.shards.length === 1 && weights.shards[0] === singleFileName;
}

async function writeIndex(weights: ModelWeights, stage: string): Promise<void> {
  let total = 0;
  for (const shard of weights.shards) {
    const file = await SafetensorsFile.open(path.join(stage, shard));
    total += file.dataBytes;
    await file.close();
  }
  const weightMap = Object.fromEntries(
    [...weights.names].sort().map((name) => [name, weights.shardOf(name)]),
  );
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  await writeFileAtomic(path.join(stage, indexFileName), `${JSON.stringify(index, null, 2)}\n`);
}

class Merge {
  readonly report: MergedReport = { changed: 0, worstRounding: undefined };
  private written = 0;

  constructor(
    private readonly weights: ModelWeights,
    private readonly changes: WeightChanges,
    private readonly onProgress: ((fraction: number) => void) | undefined,
  ) {}

  /** One tensor in memory at a time. */
  async writeShard(shard: string, stage: string): Promise<void> {
    const names = this.weights.names.filter((name) => this.weights.shardOf(name) === shard);
    const tensors = names.flatMap((name): TensorToWrite[] => {
      const info = this.weights.info(name);
      return info === undefined ? [] : [{ name, ...info, data: () => this.tensor(name) }];
    });
    await writeSafetensors(path.join(stage, shard), tensors, { format: 'pt' });
  }

  private async tensor(name: string): Promise<RawTensor['data']> {
    const original = await this.weights.read(name);
    const data = await this.changed(name, original);
    this.onProgress?.(++this.written / this.weights.names.length);
    return data;
  }

  private async changed(name: string, original: RawTensor): Promise<RawTensor['data']> {
    const change = await changedValues(name, original, this.changes);
    if (change === undefined) return original.data;
    const stored = fromFloat32(change.dtype, change.exact);
    this.note(name, change.dtype, stored, change.exact, change.base);
    return stored;
  }

  /** Counts the change, measures what rounding took, and refuses values that are not finite. */
  private note(
    name: string,
    dtype: FloatDtype,
    stored: RawTensor['data'],
    exact: Float32Array,
    base: Float32Array,
  ): void {
    const back = toFloat32({ dtype, shape: [exact.length], data: stored }, name);
    let lost = 0;
    let change = 0;
    for (let i = 0; i < exact.length; i++) {
      const value = exact[i] as number;
      if (!Number.isFinite(back[i])) throw notFinite(name, dtype);
      lost += (value - (back[i] as number)) ** 2;
      change += (value - (base[i] as number)) ** 2;
    }
    if (change === 0) return;
    this.report.changed++;
    const loss = Math.sqrt(lost / change);
    if (loss > (this.report.worstRounding?.loss ?? 0)) {
      this.report.worstRounding = { tensor: name, loss };
    }
  }
}

function notFinite(name: string, dtype: FloatDtype): DotaError {
  return new DotaError('train.nonFinite', `${name} would hold a value that ${dtype} cannot.`, {
    where: name,
    next: 'Export an earlier checkpoint, or use a base model in BF16 or F32.',
  });
}
