/**
 * Merging a run whose frozen matrices were in NF4 (QDoTA, QLoRA). What was trained is the adapter
 * on the de-quantised matrices, so these are what it is merged into, at the base model's precision;
 * adding the adapter to the full-precision weights would be another model.
 */
import { linearModules } from '../adapters/targets';
import type { Gemm } from '../core/gemm';
import { dequantizeNf4, quantizeNf4 } from '../core/nf4';
import { toFloat32 } from '../models/dtype';
import type { DecoderConfig, WeightSource } from '../models/modelConfig';
import { denseUpdate, type AdaptedModule, type AdapterState } from './adapterState';
import type { WeightChanges } from './weightChanges';

/**
 * NF4(W - MPO(A0)) + MPO(A) for modules with cores, NF4(W) plus the change for LoRA, NF4(W) for
 * linear layers without an adapter.
 * @param doubleQuantization as in the run's configuration
 */
export function quantizedChanges(
  weights: Pick<WeightSource, 'read'>,
  config: DecoderConfig,
  state: AdapterState,
  doubleQuantization: boolean,
  gemm: Gemm,
): WeightChanges {
  const linear = new Set(linearModules(config).map(({ path }) => `${path}.weight`));
  const adapted = new Map(state.modules.map((module) => [`${module.path}.weight`, module]));
  const merged = async (name: string): Promise<Float32Array> => {
    const weight = toFloat32(await weights.read(name), name);
    const module = adapted.get(name);
    const initial = module === undefined ? undefined : await initialPart(module, gemm);
    const residual =
      initial === undefined ? weight : weight.map((value, i) => value - (initial[i] as number));
    const stored = new Float32Array(residual.length);
    dequantizeNf4(quantizeNf4(residual, undefined, doubleQuantization), stored);
    if (module === undefined) return stored;
    const trained = await denseUpdate(withoutInitial(module), gemm);
    return stored.map((value, i) => value + (trained[i] as number));
  };
  return { replacement: (name) => (linear.has(name) ? merged(name) : undefined) };
}

/** MPO(A0), or undefined where nothing was taken out of the weight. */
async function initialPart(module: AdaptedModule, gemm: Gemm): Promise<Float32Array | undefined> {
  const { update } = module;
  if (update.kind !== 'mpo' || update.initialCores === undefined) return undefined;
  const initial = { ...update, cores: update.initialCores, initialCores: undefined };
  return denseUpdate({ ...module, update: initial }, gemm);
}

function withoutInitial(module: AdaptedModule): AdaptedModule {
  const { update } = module;
  return update.kind === 'mpo'
    ? { ...module, update: { ...update, initialCores: undefined } }
    : module;
}
