/** Opens a model and puts its engine together: what training and evaluation have in common. */
import type { AdapterPlan, LinearModule } from '../../adapters/adapter';
import { planAdapters } from '../../adapters/plan';
import { selectModules } from '../../adapters/targets';
import type { RunConfig } from '../../config/runConfig';
import type { Core } from '../../core/mpo/types';
import { countParameters, readModelConfig } from '../../models/config';
import type { DecoderConfig } from '../../models/modelConfig';
import {
  fingerprintTokenizer,
  fingerprintWeights,
  loadModelFolder,
} from '../../models/modelFolder';
import { loadTokenizer, type Tokenizer } from '../../models/tokenizer';
import { DotaError } from '../../protocol/errors';
import type { RunManifest } from '../../protocol/runFiles';
import type { Batch, Engine } from '../engine';
import { createEngine } from '../engine/createEngine';
import { readFloat32, type WeightReader } from '../engine/frozenWeights';
import type { QuantizationError } from '../engine/quantizeBlocks';
import { randomWeights } from '../engine/randomWeights';
import type { TensorCache } from '../../models/tensorCache';
import { openDevice, type Device } from '../ort/device';
import { OrtGemm } from '../ort/ortGemm';
import type { DeviceOptions } from '../ort/sessionOptions';
import { chooseDevice, type ChosenDevice } from './chooseDevice';
import { deviceFacts } from './deviceFacts';
import { CoreCache, initialCoresOf } from './coreCache';
import { FullGradients } from './fullGradients';
import { resolveModel } from './modelPath';
import type { DeviceKind } from './probeDevices';

export interface ModelParts {
  folder: string;
  config: DecoderConfig;
  tokenizer: Tokenizer;
  weights: WeightReader;
  /** Identity of the weights that training starts from. */
  weightsHash: string;
  tokenizerHash: string;
  close(): Promise<void>;
}

/**
 * Opens configuration, weights and tokenizer.
 * @throws DotaError of the model layer: `file.missing`, `file.malformed`, `model.unsupported`,
 *   `model.shape`, `tokenizer.invalid`
 */
export async function openModel(config: RunConfig, directory: string): Promise<ModelParts> {
  const folder = resolveModel(config.model, directory);
  const random = config.model_init === 'random';
  const model = random ? undefined : await loadModelFolder(folder);
  try {
    const decoder = model?.config ?? (await readModelConfig(folder));
    const { seed } = config.training;
    return {
      folder,
      config: decoder,
      tokenizer: await loadTokenizer(folder, decoder.vocabSize),
      weights: model?.weights ?? randomWeights(decoder, seed),
      weightsHash:
        model === undefined
          ? `random|${seed}|${shapeOf(decoder)}`
          : await fingerprintWeights(model),
      tokenizerHash: await fingerprintTokenizer(folder),
      close: async () => {
        await model?.weights.close();
      },
    };
  } catch (error) {
    await model?.weights.close();
    throw error;
  }
}

function shapeOf(config: DecoderConfig): string {
  const { architecture, hiddenSize, numLayers, vocabSize } = config;
  return `${architecture} ${hiddenSize}x${numLayers} ${vocabSize}`;
}

export interface EngineParts {
  engine: Engine;
  plan: AdapterPlan;
  facts: Required<Pick<RunManifest, 'device' | 'model' | 'trainable'>> &
    Pick<RunManifest, 'quantization'>;
}

export interface EngineHooks {
  shouldStop: () => boolean;
  /** Modules whose adapter is being initialised. */
  onModule?: (done: number, total: number) => void;
  /** Leave the adapters out: the base model, for evaluation. */
  baseOnly?: boolean;
  /** Keeps cores at step 0 for the next run. */
  cache?: TensorCache;
  /** Cores at step 0 of a run that is resumed. */
  initialCores?: (module: LinearModule) => readonly Core[] | undefined;
  /** Opens the device that was chosen, where it is to be watched. */
  openDevice?: (options: DeviceOptions) => Device;
  /** The device, where it was chosen before. */
  device?: ChosenDevice;
  /** Whether activations are recomputed, where the configuration leaves it open (`auto`: kept). */
  recompute?: boolean;
  /** Batches for `init_weights: "gradient"`. */
  firstBatches?: () => Batch[];
}

/**
 * Initialises the adapters and builds the engine.
 * @throws DotaError `adapter.noTarget`, `adapter.rank`, `adapter.shape`, `device.unavailable`
 */
export async function buildEngine(
  config: RunConfig,
  model: ModelParts,
  hooks: EngineHooks,
): Promise<EngineParts> {
  const device = hooks.device ?? (await chooseDevice(config));
  const facts = deviceFacts(device, config);
  const { kind, bufferBytes } = device;
  const { threads } = facts;
  const cores =
    hooks.cache === undefined || hooks.initialCores !== undefined
      ? undefined
      : CoreCache.for(hooks.cache, config, model.config, model.weightsHash);
  const plan =
    hooks.baseOnly === true
      ? basePlan
      : await planModel(config, model, { device: device.kind, threads }, { ...hooks, cores });
  let quantization: QuantizationError | undefined;
  const engine = await createEngine({
    config: model.config,
    weights: model.weights,
    adapters: plan,
    device: (hooks.openDevice ?? openDevice)({ kind, threads, bufferBytes }),
    threads,
    quantization:
      hooks.baseOnly !== true && config.quantization.load_in_4bit
        ? {
            doubleQuantization: config.quantization.bnb_4bit_use_double_quant,
            onMeasured: (error) => {
              quantization = error;
            },
          }
        : undefined,
    optimizer: config.training.optim,
    recompute: recomputes(config, hooks),
    shouldStop: hooks.shouldStop,
  });
  const base = countParameters(model.config);
  const parameters = engine.trainable.reduce((sum, tensor) => sum + tensor.size, 0);
  const all = plan.trainsBaseWeights ? base : base + parameters;
  return {
    engine,
    plan,
    facts: {
      device: facts,
      model: { architecture: model.config.architecture, parameters: base },
      trainable: { parameters, fraction: parameters / all },
      ...(quantization === undefined ? {} : { quantization }),
    },
  };
}

function recomputes({ training }: RunConfig, hooks: Pick<EngineHooks, 'recompute'>): boolean {
  return hooks.recompute ?? training.gradient_checkpointing === true;
}

/** Ids that end an answer, by the model's and the tokenizer's own word. */
export function endTokens(model: Pick<ModelParts, 'config' | 'tokenizer'>): number[] {
  const { eosTokenId } = model.tokenizer;
  return [
    ...new Set([...model.config.eosTokenIds, ...(eosTokenId === undefined ? [] : [eosTokenId])]),
  ];
}

/** No adapter and nothing to train: the model as it was found. */
const basePlan: AdapterPlan = { trainsBaseWeights: false, modules: new Map() };

/**
 * Attaches the configured method to the model's modules.
 * @throws DotaError `adapter.noTarget`, `adapter.rank`, `adapter.shape`, `config.invalid`
 */
export async function planModel(
  config: RunConfig,
  model: Pick<ModelParts, 'config' | 'weights'>,
  { device, threads }: { device: DeviceKind; threads: number },
  hooks: Pick<EngineHooks, 'initialCores' | 'onModule' | 'firstBatches' | 'recompute'> & {
    shouldStop?: () => boolean;
    cores?: CoreCache | undefined;
  },
): Promise<AdapterPlan> {
  const { adapter, quantization, training } = config;
  checkQuantization(config);
  const weight = (module: LinearModule): Promise<Float32Array> =>
    readFloat32(model.weights, {
      name: `${module.path}.weight`,
      shape: [module.outFeatures, module.inFeatures],
    });
  const needsGradient = config.method === 'dota' && adapter.init_weights === 'gradient';
  let gradients: FullGradients | undefined;
  const { firstBatches } = hooks;
  const known = await hooks.cores?.read();
  const gemm = new OrtGemm(threads);
  try {
    const plan = await planAdapters({
      method: config.method,
      config: model.config,
      // What is stored in 4 bits is the residual, so it has to exist.
      options: quantization.load_in_4bit ? { ...adapter, residual: 'explicit' } : adapter,
      seed: training.seed,
      gemm,
      weight,
      initialCores: known === undefined ? hooks.initialCores : (module) => known.get(module.path),
      gradient:
        needsGradient && firstBatches
          ? async (module) => {
              gradients ??= new FullGradients({
                config: model.config,
                weights: model.weights,
                device,
                threads,
                recompute: recomputes(config, hooks),
                shouldStop: hooks.shouldStop ?? (() => false),
                modules: selectModules(model.config, adapter),
                batches: firstBatches(),
              });
              return gradients.of(module);
            }
          : undefined,
      quantization: quantization.load_in_4bit
        ? {
            doubleQuantization: quantization.bnb_4bit_use_double_quant,
            rounds: quantization.loftq_iter,
          }
        : undefined,
      onModule: (_module, index, count) => hooks.onModule?.(index, count),
    });
    if (known === undefined) await hooks.cores?.write(initialCoresOf(plan));
    return plan;
  } finally {
    await gemm.dispose();
  }
}

/** @throws DotaError `config.invalid` for what 4-bit storage cannot be combined with */
function checkQuantization({ method, adapter, quantization }: RunConfig): void {
  if (!quantization.load_in_4bit) return;
  const refuse = (message: string, next: string): never => {
    throw new DotaError('config.invalid', message, { where: 'quantization', next });
  };
  if (method === 'mpop') {
    refuse(
      'MPOP puts cores in place of the weights: nothing is left to store in 4 bits.',
      'Choose another method or switch load_in_4bit off.',
    );
  }
  if (method === 'dota' && adapter.init_weights === 'gradient' && quantization.loftq_iter > 1) {
    refuse(
      'Alternating rounds decompose the weight, not its gradient.',
      'Set loftq_iter to 1, or init_weights to "mpo".',
    );
  }
}
