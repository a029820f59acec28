/**
 * Gradients of the loss by full weights, for `init_weights: "gradient"`. They are as large as the
 * weights in fp32, so they are computed for as many modules at a time as fit a budget; each group
 * costs one pass over the batches.
 */
import type { LinearModule } from '../../adapters/adapter';
import { WeightProbe } from '../../adapters/weightProbe';
import type { Batch, Engine } from '../engine';
import { createEngine, type EngineOptions } from '../engine/createEngine';

/** Bytes of the gradients that are held at a time; the engine holds a few arrays of this size. */
const GROUP_BYTES = 2 ** 29;

export interface FullGradientsOptions extends Omit<
  EngineOptions,
  'adapters' | 'quantization' | 'optimizer'
> {
  /** In the order in which they will be asked for. */
  modules: readonly LinearModule[];
  batches: readonly Batch[];
  groupBytes?: number;
}

export class FullGradients {
  readonly #options: FullGradientsOptions;
  #group = new Map<string, Float32Array>();

  constructor(options: FullGradientsOptions) {
    this.#options = options;
  }

  /**
   * Mean over the batches' labels, `[out, in]`.
   * @throws DotaError `run.stopped`
   */
  async of(module: LinearModule): Promise<Float32Array> {
    const known = this.#group.get(module.path);
    if (known) return known;
    this.#group.clear();
    const { modules, groupBytes = GROUP_BYTES } = this.#options;
    const first = modules.findIndex(({ path }) => path === module.path);
    if (first < 0) throw new Error(`${module.path} is none of the modules`);
    const group: LinearModule[] = [];
    let bytes = 0;
    for (const next of modules.slice(first)) {
      bytes += 4 * next.outFeatures * next.inFeatures;
      if (bytes > groupBytes && group.length > 0) break;
      group.push(next);
    }
    this.#group = await this.#compute(group);
    return this.#group.get(module.path) as Float32Array;
  }

  async #compute(modules: readonly LinearModule[]): Promise<Map<string, Float32Array>> {
    const { batches, ...options } = this.#options;
    const engine = await createEngine({
      ...options,
      adapters: {
        trainsBaseWeights: false,
        modules: new Map(modules.map((module) => [module.path, new WeightProbe(module)])),
      },
    });
    try {
      return await accumulate(engine, batches, modules);
    } finally {
      await engine.dispose();
    }
  }
}

async function accumulate(
  engine: Engine,
  batches: readonly Batch[],
  modules: readonly LinearModule[],
): Promise<Map<string, Float32Array>> {
  const labels = batches.reduce((sum, { lossTokens }) => sum + lossTokens, 0);
  for (const batch of batches) await engine.forwardBackward(batch, 1 / Math.max(1, labels));
  const gradient = await engine.readGradient();
  return new Map(
    modules.map(({ path }) => {
      const own = engine.trainable.find(({ name }) => name.startsWith(`${path}.`));
      if (!own) throw new Error(`${path} has no gradient`);
      return [path, gradient.subarray(own.offset, own.offset + own.size)];
    }),
  );
}
