/** The adapters of a checkpoint put back together, and the weights that they make with the model. */
import path from 'node:path';
import type { AdapterPlan, ModuleAdapter } from '../../adapters/adapter';
import { linearModules } from '../../adapters/targets';
import type { RunConfig } from '../../config/runConfig';
import { dequantizeNf4, quantizeNf4 } from '../../core/nf4';
import { adapterModelName } from '../../export/adapterFolder';
import type { WeightChanges } from '../../export/weightChanges';
import { toFloat32 } from '../../models/dtype';
import type { DecoderConfig, WeightSource } from '../../models/modelConfig';
import { SafetensorsFile } from '../../models/safetensors/reader';
import { DotaError } from '../../protocol/errors';
import { DenseDeltas, type AdapterValues } from '../engine/denseDeltas';
import { squaredError } from '../engine/frozenWeights';
import { loadCheckpoint } from './checkpointFiles';
import { physicalCores } from './physicalCores';
import { planModel } from './prepareModel';

interface Base {
  config: DecoderConfig;
  weights: Pick<WeightSource, 'names' | 'read'>;
}

export class TrainedAdapters {
  readonly #deltas: DenseDeltas;
  /** Of the matrices that were merged into their 4-bit form so far, by module path. */
  readonly #errors = new Map<string, ReturnType<typeof squaredError>>();

  private constructor(
    private readonly base: Base,
    readonly plan: AdapterPlan,
    /** By module path. */
    private readonly values: ReadonlyMap<string, AdapterValues>,
    private readonly quantization: RunConfig['quantization'],
    threads: number,
  ) {
    this.#deltas = new DenseDeltas(threads);
  }

  /**
   * @param checkpoint its folder
   * @throws DotaError `file.missing`, `file.malformed`, `run.corrupt`, `run.state`
   */
  static async open(config: RunConfig, base: Base, checkpoint: string): Promise<TrainedAdapters> {
    const threads = config.threads > 0 ? config.threads : physicalCores();
    const { initialCores } = await loadCheckpoint(checkpoint);
    const plan = await planModel(
      config,
      base,
      { device: 'cpu', threads },
      { shouldStop: () => false, initialCores },
    );
    const file = await SafetensorsFile.open(path.join(checkpoint, adapterModelName));
    try {
      const values = new Map<string, AdapterValues>();
      for (const adapter of plan.modules.values()) {
        values.set(adapter.module.path, await readValues(file, adapter));
      }
      return new TrainedAdapters(base, plan, values, config.quantization, threads);
    } finally {
      await file.close();
    }
  }

  /**
   * The merged weights. What a 4-bit run trained is the adapter on the de-quantised matrices, so
   * these are what it is merged into, those of modules without an adapter too: adding it to the
   * full-precision weights would be another model.
   */
  changes(): WeightChanges {
    const { load_in_4bit: quantized } = this.quantization;
    const linear = new Set(linearModules(this.base.config).map(({ path: name }) => name));
    return {
      replacement: (name) => {
        const module = name.replace(/\.weight$/, '');
        if (!linear.has(module)) return undefined;
        if (!quantized && !this.plan.modules.has(module)) return undefined;
        return this.#merged(module, quantized);
      },
    };
  }

  dispose(): Promise<void> {
    return this.#deltas.dispose();
  }

  async #weight(module: string): Promise<Float32Array> {
    return toFloat32(await this.base.weights.read(`${module}.weight`), `${module}.weight`);
  }

  /**
   * ||exact - merged||_F / ||exact||_F over the matrices that `changes` has given so far, where exact is
   * the same adapter merged into the full-precision weight; undefined where nothing is in 4 bits.
   */
  get fourBitError(): number | undefined {
    if (this.#errors.size === 0) return undefined;
    const all = [...this.#errors.values()];
    const sum = (pick: (item: (typeof all)[number]) => number): number =>
      all.reduce((total, item) => total + pick(item), 0);
    return Math.sqrt(sum((item) => item.squaredError) / sum((item) => item.energy));
  }

  async #merged(module: string, quantized: boolean): Promise<Float32Array> {
    const weight = await this.#weight(module);
    const exact = await this.#merge(module, weight);
    if (!quantized) return exact;
    const merged = await this.#merge(module, weight, (frozen) => this.#throughNf4(frozen));
    this.#errors.set(module, squaredError(exact, merged));
    return merged;
  }

  async #merge(
    module: string,
    weight: Float32Array,
    stored?: (frozen: Float32Array) => Float32Array,
  ): Promise<Float32Array> {
    const adapter = this.plan.modules.get(module);
    if (adapter === undefined) return stored?.(weight) ?? weight;
    const values = this.values.get(module) ?? new Map<string, Float32Array>();
    return (await this.#deltas.merge(adapter, weight, values, stored)).values;
  }

  #throughNf4(values: Float32Array): Float32Array {
    const out = new Float32Array(values.length);
    dequantizeNf4(quantizeNf4(values, undefined, this.quantization.bnb_4bit_use_double_quant), out);
    return out;
  }
}

async function readValues(file: SafetensorsFile, adapter: ModuleAdapter): Promise<AdapterValues> {
  const values = new Map<string, Float32Array>();
  for (const { name, initial, trainable } of adapter.tensors) {
    if (!trainable) continue;
    const full = `${adapter.module.path}.${name}`;
    const data = file.info(full) === undefined ? undefined : toFloat32(await file.read(full), full);
    if (data?.length !== initial.length) {
      throw new DotaError('run.state', `The checkpoint does not fit this run: ${full}.`, {
        where: file.path,
        next: 'Export with the configuration that the checkpoint was made with.',
      });
    }
    values.set(name, data);
  }
  return values;
}
