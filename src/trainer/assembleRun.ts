/**
 * From a configuration to everything that the loop needs: the model and its tokenizer, the data as
 * batches, the adapters with their initial cores, the engine.
 */
import { createHash } from 'node:crypto';
import type { LinearModule } from '../adapters/adapter';
import { planAdapters } from '../adapters/plan';
import type { RunConfig } from '../config/runConfig';
import { BatchPlan } from '../data/batches';
import { prepareDataset, type PreparedData } from '../data/prepare';
import type { DecoderConfig } from '../models/modelConfig';
import { configFileName, countParameters, readModelConfig } from '../models/config';
import { fingerprintFiles, loadModelFolder } from '../models/modelFolder';
import { loadTokenizer, tokenizerFileName, type Tokenizer } from '../models/tokenizer';
import type { RunFingerprint } from '../protocol/runFiles';
import type { Batch, Engine } from './engine';
import { createEngine } from './engine/createEngine';
import { readFloat32, type WeightReader } from './engine/frozenWeights';
import { randomWeights } from './engine/randomWeights';
import type { TrainingBatches } from './loop';
import { OrtGemm } from './ort/ortGemm';
import { resolveModelFolder } from './sample';

export interface AssembleOptions {
  /** Folder that relative paths of the configuration refer to. */
  configDirectory: string;
  device: 'cpu' | 'webgpu';
  /** 0 lets the runtime choose. */
  threads: number;
  /** Polled between modules, files and blocks. */
  shouldStop: () => boolean;
  onProgress: (progress: AssembleProgress) => void;
}

export interface AssembleProgress {
  phase: 'reading data' | 'decomposing' | 'loading weights';
  /** File or module at hand. */
  item: string;
  /** 0 to 1. */
  fraction: number;
}

export interface AssembledRun {
  engine: Engine;
  tokenizer: Tokenizer;
  modelConfig: DecoderConfig;
  modelFolder: string;
  data: PreparedData;
  batches: TrainingBatches;
  /** Undefined when there is neither a validation file nor a split. */
  validation: (() => Iterable<Batch>) | undefined;
  totalSteps: number;
  fingerprint: RunFingerprint;
  model: { architecture: string; parameters: number };
  trainable: { parameters: number; fraction: number };
  dispose(): Promise<void>;
}

/**
 * @throws DotaError of the model, the data or the adapters; `run.stopped` when asked to stop
 */
export async function assembleRun(
  config: RunConfig,
  options: AssembleOptions,
): Promise<AssembledRun> {
  const { training } = config;
  const folder = resolveModelFolder(config.model, options.configDirectory);
  const model = await openBaseModel(config, folder);
  try {
    const tokenizer = await loadTokenizer(folder, model.config.vocabSize);
    const data = await prepareDataset(config.data, tokenizer, {
      directory: options.configDirectory,
      seed: training.seed,
      onProgress: ({ file, fraction }) => {
        options.onProgress({ phase: 'reading data', item: file, fraction });
      },
    });
    const padTokenId = model.config.padTokenId ?? tokenizer.padTokenId ?? 0;
    const batches = trainingBatches(config, data, padTokenId);
    const adapters = await planAdapters({
      method: config.method,
      config: model.config,
      options: config.adapter,
      seed: training.seed,
      weight: (module) => moduleWeight(model.weights, module),
      gemm: new OrtGemm(options.threads),
      onModule: ({ path: item }, index, count) => {
        options.onProgress({ phase: 'decomposing', item, fraction: index / count });
      },
    });
    options.onProgress({ phase: 'loading weights', item: folder, fraction: 0 });
    const engine = await createEngine({
      config: model.config,
      weights: model.weights,
      adapters,
      device: options.device,
      threads: options.threads,
      recompute: training.gradient_checkpointing,
      shouldStop: options.shouldStop,
    });
    const trainableParameters = engine.trainable.reduce((sum, { size }) => sum + size, 0);
    const parameters = countParameters(model.config);
    return {
      engine,
      tokenizer,
      modelConfig: model.config,
      modelFolder: folder,
      data,
      batches,
      validation: validationBatches(config, data, padTokenId),
      totalSteps: totalSteps(training, batches.stepsPerEpoch),
      fingerprint: {
        baseWeights: model.fingerprint,
        tokenizer: await fingerprintFiles(folder, [tokenizerFileName]),
        trainData: data.trainHash,
        validationData: data.validationHash,
        dataPolicy: data.dataPolicy,
      },
      model: { architecture: model.config.architecture, parameters },
      trainable: {
        parameters: trainableParameters,
        fraction: trainableParameters / parameters,
      },
      dispose: async () => {
        await engine.dispose();
        await model.close();
      },
    };
  } catch (error) {
    await model.close();
    throw error;
  }
}

interface BaseModel {
  config: DecoderConfig;
  weights: WeightReader;
  fingerprint: string;
  close(): Promise<void>;
}

async function openBaseModel(config: RunConfig, folder: string): Promise<BaseModel> {
  if (config.model_init === 'random') {
    const modelConfig = await readModelConfig(folder);
    const { seed } = config.training;
    const shape = await fingerprintFiles(folder, [configFileName]);
    const identity = createHash('sha256')
      .update(`random|${String(seed)}|${shape}`)
      .digest('hex');
    return {
      config: modelConfig,
      weights: randomWeights(modelConfig, seed),
      fingerprint: identity,
      close: async () => {},
    };
  }
  const model = await loadModelFolder(folder);
  return {
    config: model.config,
    weights: model.weights,
    fingerprint: await fingerprintFiles(folder, model.weights.shards),
    close: () => model.weights.close(),
  };
}

async function moduleWeight(weights: WeightReader, module: LinearModule): Promise<Float32Array> {
  return readFloat32(weights, {
    name: `${module.path}.weight`,
    shape: [module.outFeatures, module.inFeatures],
  });
}

/** Optimizer step n takes `gradient_accumulation_steps` micro-batches; an epoch's last may be fewer. */
export function trainingBatches(
  { data: dataOptions, training }: RunConfig,
  data: PreparedData,
  padTokenId: number,
): TrainingBatches {
  const accumulation = training.gradient_accumulation_steps;
  const plan = new BatchPlan(data.train, {
    batchSize: training.per_device_train_batch_size,
    seed: training.seed,
    shuffle: true,
    groupByLength: training.group_by_length,
    packing: dataOptions.packing,
    maxLength: dataOptions.max_length,
    padTokenId,
  });
  const stepsPerEpoch = Math.ceil(plan.batchesPerEpoch / accumulation);
  return {
    stepsPerEpoch,
    step: (n) => {
      const epoch = Math.floor((n - 1) / stepsPerEpoch);
      const first = ((n - 1) % stepsPerEpoch) * accumulation;
      const count = Math.min(accumulation, plan.batchesPerEpoch - first);
      return Array.from({ length: count }, (_, k) => plan.batch(epoch, first + k));
    },
  };
}

function validationBatches(
  { data: dataOptions, training }: RunConfig,
  data: PreparedData,
  padTokenId: number,
): (() => Iterable<Batch>) | undefined {
  if (data.validation.length === 0) return undefined;
  const plan = new BatchPlan(data.validation, {
    batchSize: training.per_device_eval_batch_size,
    seed: 0,
    shuffle: false,
    groupByLength: true,
    maxLength: dataOptions.max_length,
    padTokenId,
  });
  return function* batches() {
    for (let index = 0; index < plan.batchesPerEpoch; index++) yield plan.batch(0, index);
  };
}

/** `max_steps` wins over `num_train_epochs`, as in the Trainer. */
function totalSteps(training: RunConfig['training'], stepsPerEpoch: number): number {
  if (training.max_steps > 0) return training.max_steps;
  return Math.max(1, Math.ceil(training.num_train_epochs * stepsPerEpoch));
}
