/**
 * Starting cores of MPO adapters, kept so that the next run on the same weights with the same shapes
 * begins without decomposing them.
 */
import type { AdapterPlan, LinearModule } from '../../adapters/adapter';
import { mpoSpec } from '../../adapters/mpoShape';
import { selectModules } from '../../adapters/targets';
import type { RunConfig } from '../../config/runConfig';
import type { Core } from '../../core/mpo/types';
import type { DecoderConfig, RawTensor } from '../../models/modelConfig';
import { tensorCacheKey, type TensorCache } from '../../models/tensorCache';

/** Raised whenever the decomposition changes what a key stands for. */
const FORMAT = 1;

export class CoreCache {
  readonly #key: string;

  /** @throws DotaError of the adapter's configuration */
  constructor(
    private readonly cache: TensorCache,
    private readonly modules: readonly LinearModule[],
    weightsHash: string,
    config: Pick<RunConfig, 'adapter' | 'training'>,
  ) {
    const { adapter, training } = config;
    const shapes = modules.map((module) => [module.path, mpoSpec(module, adapter)]);
    const options = [adapter.orientation, adapter.gauge, training.seed];
    this.#key = tensorCacheKey(['cores', FORMAT, weightsHash, options, shapes]);
  }

  /** Undefined for a method whose start isn't a decomposition of the weights. */
  static for(
    cache: TensorCache,
    config: RunConfig,
    decoder: DecoderConfig,
    weightsHash: string,
  ): CoreCache | undefined {
    const { method, adapter, quantization } = config;
    const fromWeight = (method === 'dota' && adapter.init_weights === 'mpo') || method === 'mpop';
    // With 4-bit weights the start may take several rounds that depend on the quantisation too.
    if (!fromWeight || quantization.load_in_4bit) return undefined;
    return new CoreCache(cache, selectModules(decoder, config.adapter), weightsHash, config);
  }

  /** The cores of each module; undefined unless all are there. */
  async read(): Promise<ReadonlyMap<string, readonly Core[]> | undefined> {
    const entry = await this.cache.read(this.#key);
    if (entry === undefined) return undefined;
    const cores = new Map<string, Core[]>();
    for (const { path } of this.modules) {
      const list: Core[] = [];
      for (let k = 0; ; k++) {
        const tensor = entry.tensors.get(coreName(path, k));
        if (tensor === undefined) break;
        if (!(tensor.data instanceof Float32Array)) return undefined;
        list.push({ shape: tensor.shape as unknown as Core['shape'], data: tensor.data });
      }
      if (list.length === 0) return undefined;
      cores.set(path, list);
    }
    return cores;
  }

  async write(cores: ReadonlyMap<string, readonly Core[]>): Promise<void> {
    const tensors = new Map<string, RawTensor>();
    for (const [path, list] of cores) {
      list.forEach(({ shape, data }, k) => {
        tensors.set(coreName(path, k), { dtype: 'F32', shape, data });
      });
    }
    await this.cache.write(this.#key, { tensors, metadata: {} });
  }
}

const coreName = (path: string, k: number): string => `${path}.${k}`;

/** A0 of every MPO adapter, whatever form its residual takes; by module path. */
export function initialCoresOf(plan: AdapterPlan): ReadonlyMap<string, readonly Core[]> {
  return new Map(
    [...plan.modules].map(([path, adapter]) => [
      path,
      adapter.tensors
        .filter(({ name }) => name.startsWith('mpo_cores.'))
        .map(({ shape, initial }): Core => ({ shape: shape as Core['shape'], data: initial })),
    ]),
  );
}
