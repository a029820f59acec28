/** A trained adapter as tensors, independent of the engine, and what it adds to each weight. */
import type { LoraPair } from '../adapters/loraPair';
import { principalPair } from '../adapters/loraStart';
import { subtract } from '../core/mpo/algebra';
import { contractToWeight } from '../core/mpo/contract';
import type { Method } from '../config/runConfig';
import type { Gemm } from '../core/gemm';
import type { Core, Mpo, Orientation } from '../core/mpo/types';
import { DotaError } from '../protocol/errors';

export type AdapterMethodName = Exclude<Method, 'full'>;

/** A pair of matrices in the sense of LoRA. */
export interface LoraUpdate extends LoraPair {
  kind: 'lora';
  /** PiSSA: the pair began as the weight's leading singular triples, which were taken out of it. */
  startsPrincipal?: boolean;
  /** DoRA: the norm of each row of the adapted weight, `[out]`. */
  magnitude?: Float32Array | undefined;
}

/** A chain of cores. */
export interface MpoUpdate {
  kind: 'mpo';
  cores: readonly Core[];
  /** Cores whose product was taken out of the weight: it changes by MPO(cores) - MPO(initialCores). */
  initialCores: readonly Core[] | undefined;
  orientation: Orientation;
  /** MPOP: the cores' product stands in place of the weight. */
  replaces?: boolean;
}

/** The trained tensors of one linear layer. */
export type ModuleUpdate = MpoUpdate | LoraUpdate;

/** Reads a pretrained weight by its module's path, `[out, in]` in fp32. */
export type ReadWeight = (path: string) => Promise<Float32Array>;

export interface AdaptedModule {
  /** Full path, e.g. `model.layers.0.self_attn.q_proj`. */
  path: string;
  outFeatures: number;
  inFeatures: number;
  update: ModuleUpdate;
}

export interface AdapterState {
  method: AdapterMethodName;
  /** rsLoRA: the factor of a pair is meant as alpha / sqrt(rank). */
  usesRslora?: boolean;
  modules: readonly AdaptedModule[];
}

/** The chain of cores as an operator; row and column factors are read off the cores. */
export function mpoOf(cores: readonly Core[]): Mpo {
  return {
    shape: { rows: cores.map(({ shape }) => shape[1]), cols: cores.map(({ shape }) => shape[2]) },
    cores,
  };
}

/** MPO(cores) - MPO(initialCores) as one operator (bonds of trained and initial cores add up). */
export function updateOperator(update: MpoUpdate): Mpo {
  const trained = mpoOf(update.cores);
  return update.initialCores === undefined
    ? trained
    : subtract(trained, mpoOf(update.initialCores));
}

/** Whether the change of a weight can only be told from the pretrained weight itself. */
export function dependsOnWeight(update: ModuleUpdate): boolean {
  switch (update.kind) {
    case 'mpo':
      return update.replaces === true;
    case 'lora':
      return update.startsPrincipal === true || update.magnitude !== undefined;
  }
}

/**
 * The dense change of a weight, `[out, in]` in fp32.
 * @param weight asked only where the change depends on it
 */
export async function denseUpdate(
  module: AdaptedModule,
  gemm: Gemm,
  weight: ReadWeight,
): Promise<Float32Array> {
  const { update, path } = module;
  switch (update.kind) {
    case 'mpo': {
      const result = await contract(module, update.cores, update, gemm);
      if (update.replaces === true) subtractFrom(result, await weight(path));
      if (update.initialCores !== undefined) {
        subtractFrom(result, await contract(module, update.initialCores, update, gemm));
      }
      return result;
    }
    case 'lora': {
      const change = await product(module, update, gemm);
      if (!dependsOnWeight(update)) return change;
      const pretrained = await weight(path);
      if (update.startsPrincipal === true) {
        const start = await principalStart(module, update, pretrained, gemm);
        subtractFrom(change, await product(module, start, gemm));
      }
      return update.magnitude === undefined
        ? change
        : magnified(pretrained, change, update.magnitude);
    }
  }
}

/** The pair that PiSSA began with. */
export function principalStart(
  { outFeatures, inFeatures }: AdaptedModule,
  { rank, factor }: LoraPair,
  weight: Float32Array,
  gemm: Gemm,
): Promise<LoraPair> {
  return principalPair(weight, { outFeatures, inFeatures }, rank, factor, gemm);
}

function contract(
  { outFeatures, inFeatures }: AdaptedModule,
  cores: readonly Core[],
  { orientation }: MpoUpdate,
  gemm: Gemm,
): Promise<Float32Array> {
  return contractToWeight(mpoOf(cores), outFeatures, inFeatures, orientation, gemm);
}

async function product(
  { outFeatures, inFeatures }: AdaptedModule,
  { a, b, rank, factor }: LoraPair,
  gemm: Gemm,
): Promise<Float32Array> {
  const { data } = await gemm.f32(
    { data: b, rows: outFeatures, cols: rank },
    { data: a, rows: rank, cols: inFeatures },
  );
  return data.map((value) => factor * value);
}

function subtractFrom(target: Float32Array, other: Float32Array): void {
  for (let i = 0; i < target.length; i++) {
    target[i] = (target[i] as number) - (other[i] as number);
  }
}

/** What brings each row of `weight + change` to its magnitude: the change of the weight by DoRA. */
function magnified(
  weight: Float32Array,
  change: Float32Array,
  magnitude: Float32Array,
): Float32Array {
  const width = weight.length / magnitude.length;
  const result = new Float32Array(weight.length);
  for (let row = 0; row < magnitude.length; row++) {
    let squares = 0;
    for (let i = row * width; i < (row + 1) * width; i++) {
      squares += ((weight[i] as number) + (change[i] as number)) ** 2;
    }
    const factor = squares > 0 ? (magnitude[row] as number) / Math.sqrt(squares) : 0;
    for (let i = row * width; i < (row + 1) * width; i++) {
      const own = weight[i] as number;
      result[i] = factor * (own + (change[i] as number)) - own;
    }
  }
  return result;
}

/**
 * Checks that cores form a chain and cover the weight.
 * @throws DotaError `adapter.shape` naming module and core
 */
export function checkCores(
  path: string,
  cores: readonly Core[],
  outFeatures: number,
  inFeatures: number,
  orientation: Orientation,
  where: string,
): void {
  const fail = (problem: string): DotaError =>
    new DotaError('adapter.shape', `${path}: ${problem}.`, {
      where,
      next: 'Check that the adapter belongs to this model.',
    });
  if (cores.length < 2) throw fail('there are fewer than two cores');
  let bond = 1;
  let [rows, cols] = [1, 1];
  for (const [k, core] of cores.entries()) {
    const [left, i, j, right] = core.shape;
    if (left !== bond)
      throw fail(`core ${k} starts with bond ${left}, the one before ends with ${bond}`);
    bond = right;
    rows *= i;
    cols *= j;
  }
  if (bond !== 1) throw fail(`the last core ends with bond ${bond}`);
  const [needRows, needCols] =
    orientation === 'out' ? [outFeatures, inFeatures] : [inFeatures, outFeatures];
  if (rows < needRows || cols < needCols) {
    throw fail(`the cores describe ${rows} x ${cols}, the weight needs ${needRows} x ${needCols}`);
  }
}
