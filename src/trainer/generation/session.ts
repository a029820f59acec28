/** A base model that is open for generation, and adapters that share its weights. */
import { stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { countParameters, expectedWeights } from '../../models/config';
import { loadModelFolder, type ModelFolder } from '../../models/modelFolder';
import { loadTokenizer, type Tokenizer } from '../../models/tokenizer';
import type { RunConfig } from '../../config/runConfig';
import { FrozenWeights } from '../engine/frozenWeights';
import { openDevice, type Device } from '../ort/device';
import { OrtGemm } from '../ort/ortGemm';
import { resolveModel } from '../training/modelPath';
import { physicalCores } from '../training/physicalCores';
import { endTokens } from '../training/prepareModel';
import { adapterIdentity, openAdapter } from './adapters';
import { CachedDecoder } from './cachedDecoder';
import { findTarget, type Target } from '../training/target';
import { type AdaptedWeights, applyChanges, type WeightView } from './weightView';

export interface SessionOptions {
  /** Folder that holds the runs. */
  root: string;
  /** Of runs: `best`, `last` or a step. */
  checkpoint: string;
  device: 'cpu' | 'webgpu';
  /** Overrides of a `*.dota.json`. */
  set?: string[];
  shouldStop?: () => boolean;
}

/** Share of the machine's memory that adapters may take which are kept for the next question. */
const ADAPTER_SHARE = 0.25;
/** Share of the free memory that widened weights may take; beyond it they stay in the file's type. */
const RESIDENT_SHARE = 0.5;

export class GenerationSession {
  readonly model: ModelFolder;
  readonly tokenizer: Tokenizer;
  readonly decoder: CachedDecoder;
  readonly base: WeightView;
  /** What a run that was named in place of the model had trained with. */
  readonly data: RunConfig['data'] | undefined;
  readonly #device: Device;
  readonly #options: SessionOptions;
  /** By identity, the one used last at the end. */
  readonly #adapters = new Map<string, AdaptedWeights>();

  private constructor(
    model: ModelFolder,
    tokenizer: Tokenizer,
    base: WeightView,
    data: RunConfig['data'] | undefined,
    options: SessionOptions,
  ) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.base = base;
    this.data = data;
    this.#options = options;
    this.#device = openDevice({ kind: options.device, threads: physicalCores() });
    const { config } = model;
    this.decoder = new CachedDecoder({
      config,
      device: this.#device,
      shouldStop: options.shouldStop,
    });
  }

  /**
   * @param what a model folder, `sample`, a `*.dota.json` or a run (its base model)
   * @throws DotaError of the model layer and of the run
   */
  static async open(what: string, options: SessionOptions): Promise<GenerationSession> {
    const { folder, data } = await findBaseModel(what, options);
    const model = await loadModelFolder(folder);
    try {
      const { config } = model;
      const tokenizer = await loadTokenizer(folder, config.vocabSize);
      const wanted = [...expectedWeights(config)].map(([name, shape]) => ({ name, shape }));
      // Weights are read for every token, so that widening them each time would cost most of it.
      const widen = 4 * countParameters(config) <= RESIDENT_SHARE * os.freemem();
      const base = await FrozenWeights.load(model.weights, wanted, widen);
      return new GenerationSession(model, tokenizer, base, data, options);
    } catch (error) {
      await model.weights.close();
      throw error;
    }
  }

  /** Ids that end an answer. */
  get eosTokenIds(): number[] {
    return endTokens({ config: this.model.config, tokenizer: this.tokenizer });
  }

  /**
   * The base with an adapter in place; the second time it is ready at once.
   * @param what a run, or a folder with a native adapter
   * @throws DotaError as `openAdapter`
   */
  async withAdapter(what: string): Promise<WeightView> {
    const identity = await adapterIdentity(what, this.#options);
    const known = this.#adapters.get(identity);
    if (known) {
      this.#adapters.delete(identity);
      this.#adapters.set(identity, known);
      return known;
    }
    const gemm = new OrtGemm(physicalCores());
    const adapter = await openAdapter(what, this.model, gemm, this.#options);
    try {
      const names = expectedWeights(this.model.config).keys();
      const view = await applyChanges(this.base, names, adapter.changes);
      this.#adapters.set(identity, view);
      this.#forgetOldest();
      return view;
    } finally {
      await adapter.close();
      await gemm.dispose();
    }
  }

  /** The newest stays in any case. */
  #forgetOldest(): void {
    let bytes = [...this.#adapters.values()].reduce((sum, view) => sum + view.bytes, 0);
    for (const [identity, view] of this.#adapters) {
      if (bytes <= ADAPTER_SHARE * os.totalmem() || this.#adapters.size === 1) return;
      this.#adapters.delete(identity);
      bytes -= view.bytes;
    }
  }

  async dispose(): Promise<void> {
    await this.decoder.dispose();
    await this.#device.dispose();
    await this.model.weights.close();
  }
}

/**
 * The folder that a model, a `*.dota.json` or a run (its base) stands for.
 * @throws DotaError of the run
 */
export async function findBaseModel(
  what: string,
  options: Pick<SessionOptions, 'root' | 'checkpoint' | 'set'>,
): Promise<{ folder: string; data: RunConfig['data'] | undefined }> {
  const folder = resolveModel(what, process.cwd());
  const config = await stat(path.join(folder, 'config.json')).catch(() => undefined);
  if (config?.isFile() === true) return { folder, data: undefined };
  const target = await findTarget(what, { ...options, set: options.set ?? [] });
  return { folder: baseFolder(target), data: target.config.data };
}

/** Pretraining has no base: its checkpoint is the model. */
function baseFolder({ config, directory, checkpoint }: Target): string {
  const pretrained = config.model_init === 'pretrained';
  return !pretrained && checkpoint !== undefined
    ? checkpoint
    : resolveModel(config.model, directory);
}
