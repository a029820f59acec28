/** From the configuration to the adapters of a model's modules. */
import type { Method } from '../config/runConfig';
import type { DecoderConfig } from '../models/modelConfig';
import { type AdapterPlan, fullPlan, type LinearModule, type ModuleAdapter } from './adapter';
import { dota } from './dota';
import { lora } from './lora';
import type { AdapterMethod, AttachContext } from './method';
import { randomMpo } from './randomMpo';
import { selectModules } from './targets';

/** Methods that add tensors to chosen modules; `full` trains the base weights instead. */
export const adapterMethods: Readonly<Record<Exclude<Method, 'full'>, AdapterMethod>> = {
  dota,
  random_mpo: randomMpo,
  lora,
};

export const methodHelp: Readonly<Record<Method, string>> = {
  dota: dota.help,
  random_mpo: randomMpo.help,
  lora: lora.help,
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
