/**
 * LoRA in PEFT's own format: `adapter_config.json` with LoraConfig's fields and PEFT's tensor
 * names. LoRA, rsLoRA and DoRA are written as they were trained. PiSSA becomes LoRA of twice the rank
 * without loss, as in PEFT's own conversion, so that it works on the untouched base model. A tensor
 * adapter is converted by the best low-rank pair of each module's change; what the conversion loses is
 * reported for every module.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Gemm } from '../core/gemm';
import { type LoraPair, pairDifference } from '../adapters/loraPair';
import { matrixToLora, toLora, type LoraPair as ConvertedPair } from '../core/mpo/lora';
import { writeSafetensors, type TensorToWrite } from '../models/safetensors/writer';
import { DotaError } from '../protocol/errors';
import { writeFileAtomic } from '../runs/atomicFile';
import {
  adapterConfigName,
  adapterModelName,
  targetModules,
  type AdapterInfo,
} from './adapterFolder';
import {
  denseUpdate,
  dependsOnWeight,
  principalStart,
  updateOperator,
  type AdaptedModule,
  type AdapterState,
  type MpoUpdate,
  type ReadWeight,
} from './adapterState';

/** Rank of each module's pair: fixed, or the smallest that keeps this share of the energy. */
export type LoraRank = { r: number } | { keptEnergy: number; maxRank: number };

export interface LoraModuleReport {
  path: string;
  rank: number;
  /** ||change - B A||_F / ||change||_F. */
  relativeError: number;
}

/** A pair as PEFT has it. */
interface PeftModule {
  path: string;
  outFeatures: number;
  inFeatures: number;
  pair: LoraPair;
  magnitude: Float32Array | undefined;
  relativeError: number;
}

/** What a conversion computes with. */
export interface ConversionTools {
  gemm: Gemm;
  /** Of the base model. */
  weight: ReadWeight;
}

/**
 * Converts (where it must) and writes an adapter for PEFT.
 * @param rank of what has to be converted with a loss
 * @returns what each module lost
 * @throws DotaError `adapter.rank`, `file.diskFull`, `file.unreadable`
 */
export async function writePeftLora(
  folder: string,
  state: AdapterState,
  rank: LoraRank,
  info: AdapterInfo,
  tools: ConversionTools,
  onModule?: (path: string, index: number, count: number) => void,
): Promise<LoraModuleReport[]> {
  const modules: PeftModule[] = [];
  for (const [index, module] of state.modules.entries()) {
    onModule?.(module.path, index, state.modules.length);
    const converted = await peftModule(module, rank, tools);
    checkFinite(converted);
    modules.push(converted);
  }
  await mkdir(folder, { recursive: true });
  await writeSafetensors(path.join(folder, adapterModelName), modules.flatMap(tensorsOf), {
    format: 'pt',
  });
  // A difference of two pairs has a rank of its own, by which the factor is not meant.
  const usesRslora =
    state.usesRslora === true &&
    state.modules.every(({ update }) => update.kind === 'lora' && update.startsPrincipal !== true);
  await writeFileAtomic(
    path.join(folder, adapterConfigName),
    `${JSON.stringify(loraConfig(modules, usesRslora, info), null, 2)}\n`,
  );
  return modules.map(({ path: name, pair, relativeError }) => ({
    path: name,
    rank: pair.rank,
    relativeError,
  }));
}

function tensorsOf({
  path: name,
  outFeatures,
  inFeatures,
  pair,
  magnitude,
}: PeftModule): TensorToWrite[] {
  const tensor = (part: string, shape: number[], data: Float32Array): TensorToWrite => ({
    name: `base_model.model.${name}.${part}`,
    dtype: 'F32',
    shape,
    data,
  });
  return [
    tensor('lora_A.weight', [pair.rank, inFeatures], pair.a),
    tensor('lora_B.weight', [outFeatures, pair.rank], pair.b),
    ...(magnitude === undefined ? [] : [tensor('lora_magnitude_vector', [outFeatures], magnitude)]),
  ];
}

async function peftModule(
  module: AdaptedModule,
  rank: LoraRank,
  tools: ConversionTools,
): Promise<PeftModule> {
  const { update, path: name, outFeatures, inFeatures } = module;
  const common = { path: name, outFeatures, inFeatures };
  switch (update.kind) {
    case 'lora': {
      const pair =
        update.startsPrincipal === true
          ? pairDifference(
              update,
              await principalStart(module, update, await tools.weight(name), tools.gemm),
            )
          : update;
      return { ...common, pair, magnitude: update.magnitude, relativeError: 0 };
    }
    case 'mpo': {
      const { relativeError, ...pair } = await convert(module, update, rank, tools);
      return { ...common, pair: { ...pair, factor: 1 }, magnitude: undefined, relativeError };
    }
  }
}

async function convert(
  module: AdaptedModule,
  update: MpoUpdate,
  rank: LoraRank,
  { gemm, weight }: ConversionTools,
): Promise<ConvertedPair> {
  const { outFeatures, inFeatures } = module;
  const limit = Math.min(outFeatures, inFeatures);
  const wanted = Math.min('r' in rank ? rank.r : rank.maxRank, limit);
  const pair = dependsOnWeight(update)
    ? await matrixToLora(
        await denseUpdate(module, gemm, weight),
        outFeatures,
        inFeatures,
        wanted,
        gemm,
      )
    : await toLora(
        updateOperator(update),
        outFeatures,
        inFeatures,
        update.orientation,
        wanted,
        gemm,
      );
  return 'r' in rank ? pair : truncatePair(pair, rank.keptEnergy, outFeatures, inFeatures);
}

/**
 * The leading part of a pair that keeps a share of the whole change's energy. Each column of B has
 * the norm sqrt(s_k), since both sides carry the square root of the singular values.
 */
export function truncatePair(
  pair: ConvertedPair,
  keptEnergy: number,
  outFeatures: number,
  inFeatures: number,
): ConvertedPair {
  const energies = Array.from({ length: pair.rank }, (_, k) => {
    let singular = 0;
    for (let row = 0; row < outFeatures; row++) singular += (pair.b[row * pair.rank + k] ?? 0) ** 2;
    return singular * singular;
  });
  const captured = energies.reduce((sum, energy) => sum + energy, 0);
  const lost = pair.relativeError ** 2;
  // captured = (1 - lost) * total
  const total = lost < 1 ? captured / (1 - lost) : captured;
  let rank = 0;
  let kept = 0;
  while (rank < pair.rank && (rank === 0 || kept < keptEnergy * total))
    kept += energies[rank++] ?? 0;
  const b = new Float32Array(outFeatures * rank);
  for (let row = 0; row < outFeatures; row++) {
    b.set(pair.b.subarray(row * pair.rank, row * pair.rank + rank), row * rank);
  }
  return {
    a: pair.a.slice(0, rank * inFeatures),
    b,
    rank,
    relativeError: total > 0 ? Math.sqrt(Math.max(0, 1 - kept / total)) : 0,
  };
}

function checkFinite({ path: name, pair, magnitude }: PeftModule): void {
  const all = [pair.a, pair.b, ...(magnitude === undefined ? [] : [magnitude])];
  if (all.every((values) => values.every(Number.isFinite))) return;
  throw new DotaError('train.nonFinite', `The change of ${name} is not finite.`, {
    where: name,
    next: 'Export an earlier checkpoint.',
  });
}

/** The fields of PEFT's LoraConfig. */
function loraConfig(
  modules: readonly PeftModule[],
  usesRslora: boolean,
  info: AdapterInfo,
): Record<string, unknown> {
  const alphaOf = ({ pair: { rank, factor } }: PeftModule): number =>
    // Without the last digits, which only say how the factor was rounded.
    Number((factor * (usesRslora ? Math.sqrt(rank) : rank)).toPrecision(14));
  const r = Math.max(1, ...modules.map(({ pair }) => pair.rank));
  const widest = modules.find(({ pair }) => pair.rank === r);
  const alpha = widest === undefined ? r : alphaOf(widest);
  // Keys are regular expressions on the end of a module's path.
  const pattern = (value: (module: PeftModule) => number, common: number): object =>
    Object.fromEntries(
      modules
        .filter((module) => value(module) !== common)
        .map((module) => [module.path.replaceAll('.', '\\.'), value(module)]),
    );
  return {
    alpha_pattern: pattern(alphaOf, alpha),
    auto_mapping: null,
    base_model_name_or_path: info.baseModel,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: alpha,
    lora_dropout: 0,
    modules_to_save: null,
    peft_type: 'LORA',
    r,
    rank_pattern: pattern(({ pair }) => pair.rank, r),
    revision: null,
    target_modules: exactTargets(modules, info.layers),
    task_type: 'CAUSAL_LM',
    use_dora: modules.some(({ magnitude }) => magnitude !== undefined),
    use_rslora: usesRslora,
  };
}

/** Suffixes where they mean exactly these modules, else the whole paths. */
function exactTargets(modules: readonly { path: string }[], layers: number | undefined): string[] {
  const suffixes = targetModules(modules);
  return modules.length === suffixes.length * (layers ?? NaN)
    ? suffixes
    : modules.map(({ path: name }) => name);
}
