/** A model folder in Hugging Face layout: configuration, weights, identity. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import { checkWeights, readModelConfig } from './config';
import { fileError, readText, resolveInside } from './files';
import type { DecoderConfig } from './modelConfig';
import { openModelWeights, type ModelWeights } from './safetensors/modelWeights';
import { asObject, parseStrictJson } from './strictJson';

export interface ModelFolder {
  folder: string;
  config: DecoderConfig;
  weights: ModelWeights;
  /** Tensors in the files that the model does not use. */
  unusedTensors: readonly string[];
}

/**
 * Opens a model: reads the configuration, opens all shards, compares every shape. The caller closes
 * `weights`.
 * @throws DotaError `file.missing`, `file.malformed`, `file.unreadable`, `model.unsupported`,
 *   `model.shape`
 */
export async function loadModelFolder(folder: string): Promise<ModelFolder> {
  const config = await withGenerationConfig(folder, await readModelConfig(folder));
  const weights = await openModelWeights(folder);
  try {
    const { unused } = checkWeights(config, weights, folder);
    return { folder, config, weights, unusedTensors: unused };
  } catch (error) {
    await weights.close();
    throw error;
  }
}

/** End-of-sequence ids of `generation_config.json` (chat models list more than one) come first. */
async function withGenerationConfig(folder: string, config: DecoderConfig): Promise<DecoderConfig> {
  const name = 'generation_config.json';
  const where = path.join(folder, name);
  let text: string;
  try {
    text = await readText(await resolveInside(folder, name), 1024 * 1024);
  } catch (error) {
    if (error instanceof DotaError && error.code === 'file.missing') return config;
    throw error;
  }
  const raw = asObject(parseStrictJson(text, where, { maxDepth: 16, maxKeys: 10_000 }));
  const ids = [raw?.['eos_token_id']]
    .flat()
    .filter((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0);
  return { ...config, eosTokenIds: [...new Set([...config.eosTokenIds, ...ids])] };
}

/**
 * SHA-256 (hex) over names, sizes and contents of files, each read as a stream; independent of the
 * order given and of where the folder lies.
 * @throws DotaError `file.missing`, `file.unreadable`
 */
export async function fingerprintFiles(folder: string, names: readonly string[]): Promise<string> {
  const total = createHash('sha256');
  for (const name of [...names].sort()) {
    const file = await resolveInside(folder, name);
    const hash = createHash('sha256');
    let bytes = 0;
    try {
      for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
        hash.update(chunk as Buffer);
        bytes += (chunk as Buffer).length;
      }
    } catch (cause) {
      throw fileError(cause, path.join(folder, name));
    }
    total.update(`${name}\0${bytes}\0${hash.digest('hex')}\n`);
  }
  return total.digest('hex');
}

/** Identity of the base weights for the comparison of runs. */
export async function fingerprintWeights(model: {
  folder: string;
  weights: Pick<ModelWeights, 'shards'>;
}): Promise<string> {
  return fingerprintFiles(model.folder, model.weights.shards);
}

/** Identity of the tokenizer: `tokenizer.json` with, where present, its configuration. */
export async function fingerprintTokenizer(folder: string): Promise<string> {
  const present = await readdir(folder).catch((cause: unknown) => {
    throw fileError(cause, folder);
  });
  const names = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];
  return fingerprintFiles(
    folder,
    names.filter((name) => name === 'tokenizer.json' || present.includes(name)),
  );
}

/**
 * The licence that the model card (`README.md`) names in its front matter, if there is one.
 * @throws DotaError `file.unreadable`
 */
export async function readLicense(folder: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readText(await resolveInside(folder, 'README.md'), 4 * 1024 * 1024);
  } catch (error) {
    if (error instanceof DotaError && error.code !== 'file.unreadable') return undefined;
    throw error;
  }
  const frontMatter = /^---\r?\n([\s\S]*?)\r?\n---/.exec(text)?.[1];
  const license = /^license:[ \t]*(.+)$/m.exec(frontMatter ?? '')?.[1];
  return license?.trim().replace(/^(["'])(.*)\1$/, '$2');
}
