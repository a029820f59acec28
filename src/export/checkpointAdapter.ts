/** The adapter (or the whole weights) that a checkpoint of a run holds. */
import path from 'node:path';
import { loraScaling } from '../adapters/lora';
import type { RunConfig } from '../config/runConfig';
import type { Core } from '../core/mpo/types';
import { expectedWeights } from '../models/config';
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
  type ModuleUpdate,
} from './adapterState';
import type { WeightChanges } from './weightChanges';

const firstTensor = /^(.+)\.(?:mpo_cores\.0|lora_A\.weight|lora_A\.tt_cores\.0)$/;

/**
 * Reads `adapter_model.safetensors` of a checkpoint.
 * @param config the base model's
 * @throws DotaError `file.missing`, `file.malformed`, `adapter.shape`
 */
export async function readCheckpointAdapter(
  folder: string,
  method: AdapterMethodName,
  options: RunConfig['adapter'],
  config: DecoderConfig,
): Promise<AdapterState> {
  const file = await SafetensorsFile.open(path.join(folder, adapterModelName));
  try {
    const weights = expectedWeights(config);
    const modules: AdaptedModule[] = [];
    for (const name of file.names) {
      const module = firstTensor.exec(name)?.[1];
      if (module === undefined) continue;
      const [outFeatures, inFeatures] = weights.get(`${module}.weight`) ?? [];
      if (outFeatures === undefined || inFeatures === undefined) {
        throw new DotaError('adapter.shape', `The base model has no module ${module}.`, {
          where: file.path,
          next: 'Check that the run belongs to this model.',
        });
      }
      const update = await readUpdate(file, module, method, options, outFeatures, inFeatures);
      modules.push({ path: module, outFeatures, inFeatures, update });
    }
    modules.sort((a, b) => a.path.localeCompare(b.path, 'en', { numeric: true }));
    return { method, modules };
  } finally {
    await file.close();
  }
}

/** Methods whose change is no pair or chain by itself have it filled in by who can compute it. */
async function readUpdate(
  file: SafetensorsFile,
  module: string,
  method: AdapterMethodName,
  options: RunConfig['adapter'],
  outFeatures: number,
  inFeatures: number,
): Promise<ModuleUpdate> {
  switch (method) {
    case 'dota':
      return readChains(file, module, options, outFeatures, inFeatures);
    case 'random_mpo':
      return options.init_random === 'plain'
        ? unknownChange(module)
        : readChains(file, module, options, outFeatures, inFeatures);
    case 'lora':
      return options.use_dora || options.init_lora_weights === 'pissa'
        ? unknownChange(module)
        : readPair(file, module, options);
    case 'mpop':
    case 'loretta':
      return unknownChange(module);
  }
}

function unknownChange(module: string): ModuleUpdate {
  return {
    kind: 'dense',
    change: () => Promise.reject(new Error(`the change of ${module} was not filled in`)),
  };
}

async function readChains(
  file: SafetensorsFile,
  module: string,
  { orientation }: RunConfig['adapter'],
  outFeatures: number,
  inFeatures: number,
): Promise<ModuleUpdate> {
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
  module: string,
  options: RunConfig['adapter'],
): Promise<ModuleUpdate> {
  const a = await file.read(`${module}.lora_A.weight`);
  const b = await file.read(`${module}.lora_B.weight`);
  const [rank = 1] = a.shape;
  return {
    kind: 'lora',
    a: toFloat32(a),
    b: toFloat32(b),
    rank,
    factor: loraScaling(rank, options),
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
