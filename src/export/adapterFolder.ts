/**
 * The native adapter folder: `adapter_config.json` with PEFT's field names and
 * `adapter_model.safetensors`. LoRA adapters are written in PEFT's own format (see `peftLora.ts`);
 * tensor adapters carry their initial cores, so that the folder and the base model are enough.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import type { Core } from '../core/mpo/types';
import { toFloat32 } from '../models/dtype';
import { readText } from '../models/files';
import { SafetensorsFile } from '../models/safetensors/reader';
import { writeSafetensors, type TensorToWrite } from '../models/safetensors/writer';
import { asObject, parseStrictJson } from '../models/strictJson';
import { DotaError } from '../protocol/errors';
import { writeFileAtomic } from '../runs/atomicFile';
import { checkCores, type AdaptedModule, type AdapterState } from './adapterState';
import { pythonLoader, pythonLoaderName } from './pythonLoader';

export const adapterConfigName = 'adapter_config.json';
export const adapterModelName = 'adapter_model.safetensors';

/** Methods whose adapters are chains of cores. */
const nativeMethods = ['dota', 'random_mpo', 'mpop'] as const;
type NativeMethod = (typeof nativeMethods)[number];

const size = z.int().min(1).max(1_000_000);
const configSchema = z.object({
  peft_type: z.literal('DOTA'),
  task_type: z.literal('CAUSAL_LM'),
  base_model_name_or_path: z.string(),
  inference_mode: z.boolean(),
  r: z.int().min(1),
  target_modules: z.array(z.string()),
  dota: z.object({
    format_version: z.literal(1),
    /** With `mpop` the cores' product stands in place of the weight, else it is added. */
    method: z.enum(nativeMethods),
    orientation: z.enum(['out', 'in']),
    /** SHA-256 of the base weights, to notice another base. */
    base_weights: z.string().optional(),
    modules: z.record(
      z.string(),
      z.object({
        out_features: size,
        in_features: size,
        cores: z.int().min(2).max(16),
        initial_cores: z.boolean(),
      }),
    ),
  }),
});

export interface AdapterInfo {
  /** Name or path of the base model, as PEFT's field holds it. */
  baseModel: string;
  /** SHA-256 of the base weights. */
  baseWeights?: string | undefined;
  /** Layers of the base model, so that targets can be named by suffix where all are adapted. */
  layers?: number | undefined;
}

/**
 * Writes a tensor adapter.
 * @throws DotaError `file.diskFull`, `file.unreadable`; `adapter.shape` for a LoRA adapter
 */
export async function writeAdapterFolder(
  folder: string,
  state: AdapterState,
  info: AdapterInfo,
): Promise<void> {
  const tensors: TensorToWrite[] = [];
  const modules: z.input<typeof configSchema>['dota']['modules'] = {};
  let largestBond = 1;
  let orientation: 'out' | 'in' = 'out';
  for (const { path: name, outFeatures, inFeatures, update } of state.modules) {
    if (update.kind !== 'mpo') throw notTensor(name);
    orientation = update.orientation;
    addCores(tensors, `${name}.mpo_cores`, update.cores);
    addCores(tensors, `${name}.mpo_initial_cores`, update.initialCores ?? []);
    modules[name] = {
      out_features: outFeatures,
      in_features: inFeatures,
      cores: update.cores.length,
      initial_cores: update.initialCores !== undefined,
    };
    for (const { shape } of update.cores) largestBond = Math.max(largestBond, shape[3]);
  }
  const { method } = state;
  if (!isNative(method)) throw notTensor(state.modules[0]?.path ?? 'the adapter');
  const config: z.input<typeof configSchema> = {
    peft_type: 'DOTA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: info.baseModel,
    inference_mode: true,
    r: largestBond,
    target_modules: targetModules(state.modules),
    dota: {
      format_version: 1,
      method,
      orientation,
      ...(info.baseWeights === undefined ? {} : { base_weights: info.baseWeights }),
      modules,
    },
  };
  await mkdir(folder, { recursive: true });
  await writeSafetensors(path.join(folder, adapterModelName), tensors, { format: 'pt' });
  await writeFileAtomic(path.join(folder, pythonLoaderName), pythonLoader);
  await writeFileAtomic(
    path.join(folder, adapterConfigName),
    `${JSON.stringify(config, null, 2)}\n`,
  );
}

/** Whether a method's adapters are written in this format; those of the others in PEFT's. */
export function isNative(method: AdapterState['method']): method is NativeMethod {
  return nativeMethods.some((native) => native === method);
}

function notTensor(name: string): DotaError {
  return new DotaError('adapter.shape', `${name} is no tensor adapter.`, {
    next: 'Export a LoRA adapter in PEFT’s format.',
  });
}

function addCores(tensors: TensorToWrite[], name: string, cores: readonly Core[]): void {
  for (const [k, { data, shape }] of cores.entries()) {
    tensors.push({ name: `${name}.${k}`, dtype: 'F32', shape, data });
  }
}

/** Last parts of the module paths, sorted: what PEFT's `target_modules` holds. */
export function targetModules(modules: readonly { path: string }[]): string[] {
  return [
    ...new Set(modules.map(({ path: name }) => name.slice(name.lastIndexOf('.') + 1))),
  ].sort();
}

/**
 * The `peft_type` of an adapter folder: `DOTA` for the native format; undefined where it has none.
 * @throws DotaError `file.missing`, `file.malformed`
 */
export async function readAdapterType(folder: string): Promise<string | undefined> {
  const raw = asObject(await readConfig(path.join(folder, adapterConfigName)));
  const type = raw?.['peft_type'];
  return typeof type === 'string' ? type : undefined;
}

async function readConfig(where: string): Promise<unknown> {
  const limits = { maxDepth: 16, maxKeys: 1_000_000 };
  return parseStrictJson(await readText(where, 64 * 1024 * 1024), where, limits);
}

/**
 * Reads a folder that `writeAdapterFolder` wrote.
 * @throws DotaError `file.missing`, `file.malformed`, `adapter.shape`
 */
export async function readAdapterFolder(
  folder: string,
): Promise<{ state: AdapterState; info: AdapterInfo }> {
  const where = path.join(folder, adapterConfigName);
  const parsed = configSchema.safeParse(await readConfig(where));
  if (!parsed.success) {
    const problems = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
    throw new DotaError('file.malformed', `${problems.slice(0, 5).join('; ')}.`, {
      where,
      next: 'Choose a folder that DoTA wrote; adapters of PEFT are another format.',
    });
  }
  const { dota, base_model_name_or_path: baseModel } = parsed.data;
  const file = await SafetensorsFile.open(path.join(folder, adapterModelName));
  try {
    const modules: AdaptedModule[] = [];
    for (const [name, module] of Object.entries(dota.modules)) {
      const cores = await readCores(file, `${name}.mpo_cores`, module.cores);
      const initialCores = module.initial_cores
        ? await readCores(file, `${name}.mpo_initial_cores`, module.cores)
        : undefined;
      const { out_features: outFeatures, in_features: inFeatures } = module;
      for (const chain of [cores, ...(initialCores === undefined ? [] : [initialCores])]) {
        checkCores(name, chain, outFeatures, inFeatures, dota.orientation, file.path);
      }
      const { orientation } = dota;
      const replaces = dota.method === 'mpop' ? { replaces: true } : {};
      const update = { kind: 'mpo', cores, initialCores, orientation, ...replaces } as const;
      modules.push({ path: name, outFeatures, inFeatures, update });
    }
    return {
      state: { method: dota.method, modules },
      info: { baseModel, baseWeights: dota.base_weights },
    };
  } finally {
    await file.close();
  }
}

async function readCores(file: SafetensorsFile, name: string, count: number): Promise<Core[]> {
  const cores: Core[] = [];
  for (let k = 0; k < count; k++) {
    const tensor = await file.read(`${name}.${k}`);
    const [left, rows, cols, right] = tensor.shape;
    if (
      tensor.shape.length !== 4 ||
      left === undefined ||
      rows === undefined ||
      cols === undefined ||
      right === undefined
    ) {
      throw new DotaError('adapter.shape', `${name}.${k} does not have four dimensions.`, {
        where: file.path,
        next: 'Write the adapter again.',
      });
    }
    cores.push({ data: toFloat32(tensor, `${name}.${k}`), shape: [left, rows, cols, right] });
  }
  return cores;
}
