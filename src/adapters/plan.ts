/** From the configuration to the adapters of a model's modules. */
import type { Method } from '../config/runConfig';
import { countParameters } from '../models/config';
import type { DecoderConfig } from '../models/modelConfig';
import { type AdapterPlan, fullPlan, type LinearModule, type ModuleAdapter } from './adapter';
import { dota } from './dota';
import { lora } from './lora';
import type { AdapterMethod, AttachContext } from './method';
import { loretta } from './loretta';
import { mpop } from './mpop';
import { randomMpo } from './randomMpo';
import { selectModules } from './targets';

/** Methods that add tensors to chosen modules; `full` trains the base weights instead. */
export const adapterMethods: Readonly<Record<Exclude<Method, 'full'>, AdapterMethod>> = {
  dota,
  random_mpo: randomMpo,
  mpop,
  lora,
  loretta,
};

export const methodHelp: Readonly<Record<Method, string>> = {
  dota: dota.help,
  random_mpo: randomMpo.help,
  mpop: mpop.help,
  lora: lora.help,
  loretta: loretta.help,
  full: 'All weights train, embeddings and norms included.',
};

export interface PlanOptions extends AttachContext {
  method: Method;
  config: DecoderConfig;
  /** Called before each module; throw to stop. */
  onModule?: (module: LinearModule, index: number, count: number) => void;
}

/** @throws DotaError `adapter.noTarget`, `adapter.rank`, `adapter.shape` */
export async function planAdapters(options: PlanOptions): Promise<AdapterPlan> {
  if (options.method === 'full') return fullPlan;
  const method = adapterMethods[options.method];
  const selected = selectModules(options.config, options.options);
  method.validate?.(selected, options.options);
  const modules = new Map<string, ModuleAdapter>();
  for (const [index, module] of selected.entries()) {
    options.onModule?.(module, index, selected.length);
    modules.set(module.path, await method.attach(module, options));
  }
  return { trainsBaseWeights: false, modules };
}

/**
 * Parameters that a method trains in a model, from shapes alone; for `full` the model's own.
 * @throws DotaError `adapter.noTarget`, `adapter.rank`, `adapter.shape`
 */
export function countTrainable(
  method: Method,
  config: DecoderConfig,
  options: AttachContext['options'],
): number {
  if (method === 'full') return countParameters(config);
  const { validate, trainableCount } = adapterMethods[method];
  const modules = selectModules(config, options);
  validate?.(modules, options);
  return modules.reduce((sum, module) => sum + trainableCount(module, options), 0);
}
