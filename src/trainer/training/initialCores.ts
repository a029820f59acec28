/**
 * Cores at step 0. Whoever merges or exports an adapter needs them, so every checkpoint has them; a step
 * needs them only with an implicit residual. With an explicit one, that of every 4-bit model, they leave
 * the memory for the run's folder as soon as the engine stands.
 */
import path from 'node:path';
import type { AdapterPlan, AdapterTensor } from '../../adapters/adapter';
import { sizeOf } from '../../graph/shape';
import { SafetensorsFile } from '../../models/safetensors/reader';
import { writeSafetensors, type TensorToWrite } from '../../models/safetensors/writer';
import { releaseArray } from '../ort/releaseArray';

/** What the merged weight W + MPO(A) - MPO(A0) takes beside the trained cores. */
export const initialPrefix = 'mpo_initial_cores.';
export const corePrefix = 'mpo_cores.';

/** In a run's folder. */
export const initialCoresFile = 'initial_cores.safetensors';

/** A0 of every MPO adapter, whatever form its residual takes, and the cores that don't train. */
export class InitialCores {
  readonly #tensors: readonly TensorToWrite[];
  /** Where they lie, when they are no longer in memory. */
  readonly #file: string | undefined;

  private constructor(tensors: readonly TensorToWrite[], kept: string | undefined) {
    this.#tensors = tensors;
    this.#file = kept;
  }

  /**
   * Writes them to the run's folder and lets go of the arrays of those that no step needs: the plan's own
   * `initial` is empty then.
   * @param plan of an engine that has been built
   * @throws DotaError `file.diskFull`, `file.unreadable`
   */
  static async keep(runFolder: string, plan: AdapterPlan): Promise<InitialCores> {
    const tensors = coresOf(plan);
    const spent = spentTensors(plan);
    if (tensors.length === 0 || spent.length === 0) return new InitialCores(tensors, undefined);
    const kept = path.join(runFolder, initialCoresFile);
    await writeSafetensors(kept, tensors, { format: 'pt' });
    releaseInitial(plan);
    return new InitialCores(
      tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape, data: new Float32Array(0) })),
      kept,
    );
  }

  /** @param write is given the tensors, which it may read until it returns */
  async use(write: (tensors: readonly TensorToWrite[]) => Promise<void>): Promise<void> {
    if (this.#file === undefined) {
      await write(this.#tensors);
      return;
    }
    const open = await SafetensorsFile.open(this.#file);
    try {
      await write(
        this.#tensors.map(({ name, dtype, shape }) => ({
          name,
          dtype,
          shape,
          data: async () => (await open.read(name)).data,
        })),
      );
    } finally {
      await open.close();
    }
  }
}

/** Lets go of the values at step 0 that an engine built from the plan needs no more. */
export function releaseInitial(plan: AdapterPlan): void {
  for (const { initial } of spentTensors(plan)) releaseArray(initial);
}

/**
 * Tensors of which the engine has copies. One that doesn't train is fed from the very array, and so is A0
 * of an implicit residual, which is that of the trained cores.
 */
function spentTensors(plan: AdapterPlan): AdapterTensor[] {
  return [...plan.modules.values()]
    .filter(({ subtractsInitialDelta }) => subtractsInitialDelta)
    .flatMap(({ tensors }) => tensors.filter(({ trainable }) => trainable));
}

function coresOf(plan: AdapterPlan): TensorToWrite[] {
  return [...plan.modules].flatMap(([module, adapter]) =>
    adapter.tensors
      .filter((tensor) => tensor.name.startsWith(corePrefix))
      .flatMap(({ name, shape, initial: data, trainable }) => {
        const index = name.slice(corePrefix.length);
        const names = trainable ? [initialPrefix] : [initialPrefix, corePrefix];
        return names.map((prefix) => ({
          name: `${module}.${prefix}${index}`,
          dtype: 'F32' as const,
          shape,
          data,
        }));
      }),
  );
}

/** Bytes of all tensors at step 0. */
export function initialBytes(plan: AdapterPlan): number {
  return [...plan.modules.values()]
    .flatMap((adapter) => adapter.tensors)
    .reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
}
