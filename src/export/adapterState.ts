/** A trained adapter as tensors, independent of the engine, and what it adds to each weight. */
import { subtract } from '../core/mpo/algebra';
import { contractToWeight } from '../core/mpo/contract';
import type { Method } from '../config/runConfig';
import type { Gemm } from '../core/gemm';
import type { Core, Mpo, Orientation } from '../core/mpo/types';
import { DotaError } from '../protocol/errors';

export type AdapterMethodName = Exclude<Method, 'full'>;

/** The trained tensors of one linear layer. */
export type ModuleUpdate =
  /** The weight changes by MPO(cores) - MPO(initialCores); without initial ones by MPO(cores). */
  | {
      kind: 'mpo';
      cores: readonly Core[];
      initialCores: readonly Core[] | undefined;
      orientation: Orientation;
    }
  /** The weight changes by `factor` B A. */
  | {
      kind: 'lora';
      /** `[rank, in]` */
      a: Float32Array;
      /** `[out, rank]` */
      b: Float32Array;
      rank: number;
      factor: number;
    }
  /** The change is known as a whole only, `[out, in]`. */
  | { kind: 'dense'; change: () => Promise<Float32Array> };

export interface AdaptedModule {
  /** Full path, e.g. `model.layers.0.self_attn.q_proj`. */
  path: string;
  outFeatures: number;
  inFeatures: number;
  update: ModuleUpdate;
}

export interface AdapterState {
  method: AdapterMethodName;
  modules: readonly AdaptedModule[];
}

/** The chain of cores as an operator; row and column factors are read off the cores. */
export function mpoOf(cores: readonly Core[]): Mpo {
  return {
    shape: { rows: cores.map(({ shape }) => shape[1]), cols: cores.map(({ shape }) => shape[2]) },
    cores,
  };
}

/** What training changed, as one operator (bonds of trained and initial cores add up). */
export function updateOperator(update: Extract<ModuleUpdate, { kind: 'mpo' }>): Mpo {
  const trained = mpoOf(update.cores);
  return update.initialCores === undefined
    ? trained
    : subtract(trained, mpoOf(update.initialCores));
}

/** The dense change of a weight, `[out, in]` in fp32. */
export async function denseUpdate(module: AdaptedModule, gemm: Gemm): Promise<Float32Array> {
  const { update, outFeatures, inFeatures } = module;
  switch (update.kind) {
    case 'mpo': {
      const dense = (cores: readonly Core[]): Promise<Float32Array> =>
        contractToWeight(mpoOf(cores), outFeatures, inFeatures, update.orientation, gemm);
      const result = await dense(update.cores);
      if (update.initialCores !== undefined) {
        const initial = await dense(update.initialCores);
        for (let i = 0; i < result.length; i++) {
          result[i] = (result[i] as number) - (initial[i] as number);
        }
      }
      return result;
    }
    case 'lora': {
      const { data } = await gemm.f32(
        { data: update.b, rows: outFeatures, cols: update.rank },
        { data: update.a, rows: update.rank, cols: inFeatures },
      );
      return data.map((value) => update.factor * value);
    }
    case 'dense':
      return update.change();
  }
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
