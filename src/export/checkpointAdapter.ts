/** The adapter (or the whole weights) that a checkpoint of a run holds. */
import path from 'node:path';
import { linearModules } from '../adapters/targets';
import type { LinearModule } from '../adapters/adapter';
import { loraScaling } from '../adapters/lora';
import { lorettaPair } from '../adapters/loretta';
import type { RunConfig } from '../config/runConfig';
import type { Core } from '../core/mpo/types';
import { toFloat32 } from '../models/dtype';
import type { DecoderConfig } from '../models/modelConfig';
import { SafetensorsFile } from '../models/safetensors/reader';
import { DotaError } from '../protocol/errors';
import { adapterModelName } from './adapterFolder';
import {
  checkCores,
  type AdaptedModule,
  type AdapterMethodName,
  type AdapterState,
  type LoraUpdate,
  type ModuleUpdate,
  type MpoUpdate,
} from './adapterState';
import type { WeightChanges } from './weightChanges';

/** PEFT's name, which checkpoints have too. */
const magnitudeName = 'lora_magnitude_vector';
const firstTensor = /^(.+)\.(?:mpo_cores\.0|lora_A\.weight|lora_A\.tt_cores\.0)$/;

/**
 * Reads `adapter_model.safetensors` of a checkpoint.
 * @param run of a method that trains adapters
 * @param config the base model's
 * @throws DotaError `file.missing`, `file.malformed`, `adapter.shape`
 */
export async function readCheckpointAdapter(
  folder: string,
  run: Pick<RunConfig, 'adapter' | 'training'> & { method: AdapterMethodName },
  config: DecoderConfig,
): Promise<AdapterState> {
  const file = await SafetensorsFile.open(path.join(folder, adapterModelName));
  try {
    const known = new Map(linearModules(config).map((module) => [module.path, module]));
    const modules: AdaptedModule[] = [];
    for (const name of file.names) {
      const adapted = firstTensor.exec(name)?.[1];
      if (adapted === undefined) continue;
      const module = known.get(adapted);
      if (module === undefined) {
        throw new DotaError('adapter.shape', `The base model has no module ${adapted}.`, {
          where: file.path,
          next: 'Check that the run belongs to this model.',
        });
      }
      const { outFeatures, inFeatures } = module;
      const update = await readUpdate(file, module, run);
      modules.push({ path: adapted, outFeatures, inFeatures, update });
    }
    modules.sort((a, b) => a.path.localeCompare(b.path, 'en', { numeric: true }));
    const usesRslora = run.method === 'lora' && run.adapter.use_rslora;
    return { method: run.method, modules, usesRslora };
  } finally {
    await file.close();
  }
}

async function readUpdate(
  file: SafetensorsFile,
  module: LinearModule,
  { method, adapter: options, training }: Parameters<typeof readCheckpointAdapter>[1],
): Promise<ModuleUpdate> {
  switch (method) {
    case 'dota':
      return readChains(file, module, options);
    case 'random_mpo': {
      const chains = await readChains(file, module, options);
      // The checkpoint has the cores at step 0 in any case; here they were never taken out.
      return options.init_random === 'plain' ? { ...chains, initialCores: undefined } : chains;
    }
    case 'mpop': {
      const chains = await readChains(file, module, options);
      return { ...chains, initialCores: undefined, replaces: true };
    }
    case 'lora':
      return readPair(file, module, options);
    case 'loretta': {
      const pair = await lorettaPair(module, options, training.seed, async (name) =>
        toFloat32(await file.read(`${module.path}.${name}`)),
      );
      return { kind: 'lora', ...pair };
    }
  }
}

async function readChains(
  file: SafetensorsFile,
  { path: module, outFeatures, inFeatures }: LinearModule,
  { orientation }: RunConfig['adapter'],
): Promise<MpoUpdate> {
  const cores = await readChain(file, `${module}.mpo_cores`);
  const initial = await readChain(file, `${module}.mpo_initial_cores`);
  for (const chain of initial.length === 0 ? [cores] : [cores, initial]) {
    checkCores(module, chain, outFeatures, inFeatures, orientation, file.path);
  }
  return {
    kind: 'mpo',
    cores,
    initialCores: initial.length === 0 ? undefined : initial,
    orientation,
  };
}

async function readChain(file: SafetensorsFile, prefix: string): Promise<Core[]> {
  const cores: Core[] = [];
  for (let k = 0; file.info(`${prefix}.${k}`) !== undefined; k++) {
    const tensor = await file.read(`${prefix}.${k}`);
    const [left = 0, rows = 0, cols = 0, right = 0] = tensor.shape;
    cores.push({ data: toFloat32(tensor), shape: [left, rows, cols, right] });
  }
  return cores;
}

async function readPair(
  file: SafetensorsFile,
  { path: module }: LinearModule,
  options: RunConfig['adapter'],
): Promise<LoraUpdate> {
  const a = await file.read(`${module}.lora_A.weight`);
  const b = await file.read(`${module}.lora_B.weight`);
  const [rank = 1] = a.shape;
  return {
    kind: 'lora',
    a: toFloat32(a),
    b: toFloat32(b),
    rank,
    factor: loraScaling(rank, options),
    startsPrincipal: options.init_lora_weights === 'pissa',
    magnitude: options.use_dora
      ? toFloat32(await file.read(`${module}.${magnitudeName}`))
      : undefined,
  };
}

/**
 * The weights of a fully fine-tuned checkpoint as replacements of the base model's; close after use.
 * @throws DotaError `file.missing`, `file.malformed`
 */
export async function openReplacements(
  folder: string,
  config: DecoderConfig,
): Promise<WeightChanges & { close(): Promise<void> }> {
  const file = await SafetensorsFile.open(path.join(folder, 'model.safetensors'));
  return {
    replacement: (name) => {
      // A base may store its tied head a second time; it must not keep the old values.
      const tied = name === 'lm_head.weight' && config.tieWordEmbeddings;
      const source = tied ? 'model.embed_tokens.weight' : name;
      if (file.info(source) === undefined) return undefined;
      return file.read(source).then((tensor) => toFloat32(tensor, name));
    },
    close: () => file.close(),
  };
}
