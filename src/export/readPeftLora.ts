/**
 * LoRA adapters that PEFT wrote: plain, rsLoRA, DoRA and PiSSA. What changes the base model in another
 * way (another start's residual, biases, embeddings) is refused: applied half, an adapter is silently
 * wrong.
 */
import path from 'node:path';
import * as z from 'zod';
import { toFloat32 } from '../models/dtype';
import { readText } from '../models/files';
import { SafetensorsFile } from '../models/safetensors/reader';
import { parseStrictJson } from '../models/strictJson';
import { DotaError } from '../protocol/errors';
import { adapterConfigName, adapterModelName } from './adapterFolder';
import type { AdaptedModule, LoraUpdate } from './adapterState';

const pattern = z.record(z.string().max(1000), z.number()).nullish();
/** Fields of LoraConfig that change what the tensors mean; all others are about training. */
const configSchema = z.looseObject({
  peft_type: z.literal('LORA'),
  r: z.int().min(1),
  lora_alpha: z.number(),
  rank_pattern: pattern,
  alpha_pattern: pattern,
  use_rslora: z.boolean().nullish(),
  use_dora: z.boolean().nullish(),
  fan_in_fan_out: z.boolean().nullish(),
  bias: z.string().nullish(),
  init_lora_weights: z.union([z.boolean(), z.string()]).nullish(),
});
type LoraConfig = z.output<typeof configSchema>;

/** Fields that may only be absent, null, false or empty. */
const unsupportedFields = [
  'fan_in_fan_out',
  'lora_bias',
  'modules_to_save',
  'layer_replication',
  'target_parameters',
  'trainable_token_indices',
  'alora_invocation_tokens',
  'use_qalora',
  'use_bdlora',
  'arrow_config',
  'kasa_config',
  'monteclora_config',
];
/** Starts that leave the base weights as they are. */
const plainStarts: readonly unknown[] = [undefined, null, true, false, 'gaussian', 'orthogonal'];
/**
 * The start that takes the leading singular triples out of the weight. (Of its fast form,
 * `pissa_niter_<n>`, nobody can tell afterwards what was taken: it depends on random numbers.)
 */
const principalStart = 'pissa';

const tensorName =
  /^base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector(?:\.weight)?)$/;

export interface PeftLoraModule extends AdaptedModule {
  update: LoraUpdate;
}

/**
 * Reads `adapter_config.json` and `adapter_model.safetensors` of a folder.
 * @throws DotaError `file.missing`, `file.malformed`, `adapter.shape`, `model.unsupported`
 */
export async function readPeftLora(folder: string): Promise<PeftLoraModule[]> {
  const where = path.join(folder, adapterConfigName);
  const limits = { maxDepth: 16, maxKeys: 100_000 };
  const parsed = configSchema.safeParse(
    parseStrictJson(await readText(where, 16 * 1024 * 1024), where, limits),
  );
  if (!parsed.success) {
    const problems = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
    throw new DotaError('file.malformed', `${problems.slice(0, 5).join('; ')}.`, {
      where,
      next: 'Save the adapter again with PEFT.',
    });
  }
  checkSupported(parsed.data, where);
  const file = await SafetensorsFile.open(path.join(folder, adapterModelName));
  try {
    const modules: PeftLoraModule[] = [];
    for (const [module, parts] of groupTensors(file)) {
      modules.push(await readModule(file, module, parts, parsed.data));
    }
    return modules;
  } finally {
    await file.close();
  }
}

function checkSupported(config: LoraConfig, where: string): void {
  const refuse = (what: string, next: string): never => {
    throw new DotaError('model.unsupported', `The adapter has ${what}.`, { where, next });
  };
  const set = unsupportedFields.find((name) => {
    const value = config[name];
    const isEmpty = Array.isArray(value) ? value.length === 0 : (value ?? false) === false;
    return !isEmpty;
  });
  const merge = 'Merge it with PEFT (merge_and_unload) and use the merged model.';
  if (set !== undefined) refuse(`the option ${set}, which is not supported`, merge);
  if ((config.bias ?? 'none') !== 'none') refuse(`biases (bias "${config.bias ?? ''}")`, merge);
  if (config.init_lora_weights === principalStart && config.use_dora === true) {
    refuse('the start "pissa" together with use_dora', merge);
  }
  if (![...plainStarts, principalStart].includes(config.init_lora_weights)) {
    refuse(
      `the start "${String(config.init_lora_weights).slice(0, 40)}", which changes the base weights`,
      'Convert it to plain LoRA when saving (path_initial_model_for_weight_conversion).',
    );
  }
}

/** Names of each module's tensors by their part. */
function groupTensors(file: SafetensorsFile): Map<string, Map<string, string>> {
  const modules = new Map<string, Map<string, string>>();
  for (const name of file.names) {
    const [, module, part] = tensorName.exec(name) ?? [];
    if (module === undefined || part === undefined) {
      throw new DotaError('model.unsupported', `The adapter has a tensor ${name.slice(0, 200)}.`, {
        where: file.path,
        next: 'Only LoRA of linear layers is supported; merge it with PEFT and use the merged model.',
      });
    }
    const parts = modules.get(module) ?? new Map<string, string>();
    parts.set(part.replace(/\.weight$/, ''), name);
    modules.set(module, parts);
  }
  return modules;
}

async function readModule(
  file: SafetensorsFile,
  module: string,
  parts: ReadonlyMap<string, string>,
  config: LoraConfig,
): Promise<PeftLoraModule> {
  const fail = (problem: string): DotaError =>
    new DotaError('adapter.shape', `${module}: ${problem}.`, {
      where: file.path,
      next: 'Save the adapter again with PEFT.',
    });
  const read = async (part: string, dimensions: number) => {
    const name = parts.get(part);
    if (name === undefined) throw fail(`there is no ${part}`);
    const tensor = await file.read(name);
    if (tensor.shape.length !== dimensions) throw fail(`${part} has another number of dimensions`);
    return { data: toFloat32(tensor, name), shape: tensor.shape };
  };
  const a = await read('lora_A', 2);
  const b = await read('lora_B', 2);
  const [rank = 0, inFeatures = 0] = a.shape;
  const [outFeatures = 0, columns] = b.shape;
  const expected = byPattern(config.rank_pattern, module, file.path) ?? config.r;
  if (rank !== columns || rank !== expected) {
    throw fail(
      `A and B are of rank ${rank} and ${columns ?? 0}, the configuration says ${expected}`,
    );
  }
  const alpha = byPattern(config.alpha_pattern, module, file.path) ?? config.lora_alpha;
  const magnitude =
    config.use_dora === true ? (await read('lora_magnitude_vector', 1)).data : undefined;
  if (magnitude !== undefined && magnitude.length !== outFeatures) {
    throw fail('the magnitudes do not fit the rows');
  }
  return {
    path: module,
    outFeatures,
    inFeatures,
    update: {
      kind: 'lora',
      a: a.data,
      b: b.data,
      rank,
      factor: config.use_rslora === true ? alpha / Math.sqrt(rank) : alpha / rank,
      startsPrincipal: config.init_lora_weights === principalStart,
      magnitude,
    },
  };
}

/**
 * The entry of a `rank_pattern` or `alpha_pattern` for a module: PEFT's keys are regular expressions
 * on the end of the path. Names, with their dots escaped or not, are what they hold in practice, and
 * an expression from a file of anybody is not run.
 */
function byPattern(
  patterns: Readonly<Record<string, number>> | null | undefined,
  module: string,
  where: string,
): number | undefined {
  for (const [key, value] of Object.entries(patterns ?? {})) {
    if (!/^\^?(?:\w|\\?\.)+$/.test(key)) {
      throw new DotaError('model.unsupported', `The pattern "${key.slice(0, 80)}" is no name.`, {
        where,
        next: 'Write the modules of rank_pattern and alpha_pattern out by name.',
      });
    }
    const name = key.replaceAll('\\', '');
    const whole = name.startsWith('^') ? name.slice(1) : undefined;
    if (module === (whole ?? name) || (whole === undefined && module.endsWith(`.${name}`))) {
      return value;
    }
  }
  return undefined;
}
