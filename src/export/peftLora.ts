/**
 * LoRA in PEFT's own format: `adapter_config.json` with LoraConfig's fields and PEFT's tensor
 * names. A tensor adapter is converted by the best low-rank pair of each module's change; what the
 * conversion loses is reported for every module.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Gemm } from '../core/gemm';
import { matrixToLora, toLora, type LoraPair } from '../core/mpo/lora';
import { writeSafetensors, type TensorToWrite } from '../models/safetensors/writer';
import { DotaError } from '../protocol/errors';
import { writeFileAtomic } from '../runs/atomicFile';
import {
  adapterConfigName,
  adapterModelName,
  targetModules,
  type AdapterInfo,
} from './adapterFolder';
import { updateOperator, type AdaptedModule, type AdapterState } from './adapterState';

/** Rank of each module's pair: fixed, or the smallest that keeps this share of the energy. */
export type LoraRank = { r: number } | { keptEnergy: number; maxRank: number };

export interface LoraModuleReport {
  path: string;
  rank: number;
  /** ||change - B A||_F / ||change||_F. */
  relativeError: number;
}

/**
 * Converts (where it must) and writes an adapter for PEFT.
 * @returns what each module lost
 * @throws DotaError `adapter.rank`, `file.diskFull`, `file.unreadable`
 */
export async function writePeftLora(
  folder: string,
  state: AdapterState,
  rank: LoraRank,
  info: AdapterInfo,
  gemm: Gemm,
  onModule?: (path: string, index: number, count: number) => void,
): Promise<LoraModuleReport[]> {
  const tensors: TensorToWrite[] = [];
  const report: LoraModuleReport[] = [];
  for (const [index, module] of state.modules.entries()) {
    onModule?.(module.path, index, state.modules.length);
    const pair = await loraPair(module, rank, gemm);
    checkFinite(module.path, pair);
    const prefix = `base_model.model.${module.path}`;
    tensors.push(
      {
        name: `${prefix}.lora_A.weight`,
        dtype: 'F32',
        shape: [pair.rank, module.inFeatures],
        data: pair.a,
      },
      {
        name: `${prefix}.lora_B.weight`,
        dtype: 'F32',
        shape: [module.outFeatures, pair.rank],
        data: pair.b,
      },
    );
    report.push({ path: module.path, rank: pair.rank, relativeError: pair.relativeError });
  }
  await mkdir(folder, { recursive: true });
  await writeSafetensors(path.join(folder, adapterModelName), tensors, { format: 'pt' });
  const config = loraConfig(state.modules, report, info);
  await writeFileAtomic(
    path.join(folder, adapterConfigName),
    `${JSON.stringify(config, null, 2)}\n`,
  );
  return report;
}

async function loraPair(module: AdaptedModule, rank: LoraRank, gemm: Gemm): Promise<LoraPair> {
  const { update, outFeatures, inFeatures } = module;
  if (update.kind === 'lora') {
    // alpha = r below, so the factor goes into B.
    const b = update.b.map((value) => update.factor * value);
    return { a: update.a, b, rank: update.rank, relativeError: 0 };
  }
  const limit = Math.min(outFeatures, inFeatures);
  const wanted = Math.min('r' in rank ? rank.r : rank.maxRank, limit);
  const pair =
    update.kind === 'dense'
      ? await matrixToLora(await update.change(), outFeatures, inFeatures, wanted, gemm)
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
  pair: LoraPair,
  keptEnergy: number,
  outFeatures: number,
  inFeatures: number,
): LoraPair {
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

function checkFinite(name: string, { a, b }: LoraPair): void {
  if (a.every(Number.isFinite) && b.every(Number.isFinite)) return;
  throw new DotaError('train.nonFinite', `The change of ${name} is not finite.`, {
    where: name,
    next: 'Export an earlier checkpoint.',
  });
}

/** The fields of PEFT's LoraConfig; each module's alpha equals its rank, so that the scale is 1. */
function loraConfig(
  modules: readonly AdaptedModule[],
  report: readonly LoraModuleReport[],
  info: AdapterInfo,
): Record<string, unknown> {
  const r = Math.max(1, ...report.map((module) => module.rank));
  const deviating = report.filter((module) => module.rank !== r);
  const pattern = Object.fromEntries(
    // Keys are regular expressions on the end of a module's path.
    deviating.map((module) => [module.path.replaceAll('.', '\\.'), module.rank]),
  );
  return {
    alpha_pattern: pattern,
    auto_mapping: null,
    base_model_name_or_path: info.baseModel,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: r,
    lora_dropout: 0,
    modules_to_save: null,
    peft_type: 'LORA',
    r,
    rank_pattern: pattern,
    revision: null,
    target_modules: exactTargets(modules, info.layers),
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  };
}

/** Suffixes where they mean exactly these modules, else the whole paths. */
function exactTargets(modules: readonly AdaptedModule[], layers: number | undefined): string[] {
  const suffixes = targetModules(modules);
  return modules.length === suffixes.length * (layers ?? NaN)
    ? suffixes
    : modules.map(({ path: name }) => name);
}
