/** Puts an engine together from a model, an adapter plan and a device. */
import type { AdapterPlan } from '../../adapters/adapter';
import { DEFAULT_RESIDENT_LIMIT } from '../../estimate/residentLimit';
import { tableRows } from '../../graph/decoder/headChunks';
import { countParameters, expectedWeights } from '../../models/config';
import type { DecoderConfig } from '../../models/modelConfig';
import type { Engine } from '../engine';
import { type Device, openDevice } from '../ort/device';
import { releaseArray } from '../ort/releaseArray';
import type { DeviceKind } from '../ort/sessionOptions';
import { BatchContexts } from './batchContext';
import { Blocks } from './blocks';
import { DecoderEngine, type Progress } from './decoderEngine';
import { openEmbedding } from './embedding';
import { FrozenWeights, readFloat32, type WeightReader } from './frozenWeights';
import { Head } from './head';
import { DenseDeltas } from './denseDeltas';
import { embeddingName, planParameters, projectionName } from './parameterLayout';
import { quantizeBlocks, quantizedNames, type QuantizationOptions } from './quantizeBlocks';
import { type OptimizerKind, ParameterStore } from './parameterStore';
import { SessionCache } from './sessionCache';

export interface EngineOptions {
  config: DecoderConfig;
  weights: WeightReader;
  adapters: AdapterPlan;
  device: DeviceKind | Device;
  /** Of a device given by its kind; 0 = the runtime's choice (physical cores). */
  threads: number;
  /** Keep the blocks' frozen matrices (with `dota`: the residual) in 4 bits. */
  quantization?: QuantizationOptions | undefined;
  /** How AdamW keeps its moments (default `adamw_torch`: fp32). */
  optimizer?: OptimizerKind;
  /** Recompute a block's activations in its backward pass: less memory, more arithmetic. */
  recompute?: boolean;
  /**
   * Frozen weights of a model that takes no more bytes as fp32 are widened once; those of a larger one
   * stay in the file's type and are widened a few matrices at a time.
   */
  residentLimit?: number;
  /** Bytes of compiled graphs beyond which the least recently used go; `COMPILED_LIMIT` unless given. */
  compiledLimit?: number;
  /** Polled between two blocks. */
  shouldStop?: () => boolean;
  onBlock?: (progress: Progress) => void;
}

/**
 * @throws DotaError `file.malformed`, `model.shape` for weights that don't fit the configuration,
 *   `device.unavailable`
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { config, weights, recompute = false, shouldStop = () => false } = options;
  const device =
    typeof options.device === 'string'
      ? openDevice({ kind: options.device, threads: options.threads })
      : options.device;
  const layout = planParameters(config, options.adapters);
  const store = await ParameterStore.create(layout, device, options.optimizer);
  const sessions = new SessionCache(device, options.compiledLimit);

  const trainable = new Set(layout.tensors.map(({ name }) => name));
  const quantized = options.quantization ? quantizedNames(config) : new Set<string>();
  const frozen = await FrozenWeights.load(
    weights,
    [...expectedWeights(config)]
      .map(([name, shape]) => ({ name, shape }))
      .filter(({ name }) => !trainable.has(name) && !quantized.has(name)),
    // By the whole model, those of its matrices that are stored in 4 bits included.
    4 * countParameters(config) <= (options.residentLimit ?? DEFAULT_RESIDENT_LIMIT),
    { narrow: device.kind !== 'cpu' },
  );
  await initialiseParameters(store, weights, options.adapters, device.kind === 'cpu');
  const adapters = explicitWhereResident(options.adapters, frozen);
  if (options.quantization) {
    await quantizeBlocks(frozen, weights, config, adapters, options.threads, options.quantization);
  } else {
    await subtractInitialDeltas(frozen, adapters, options.threads);
  }

  const shapes = expectedWeights(config);
  await frozen.moveTo(device, (name) => shapes.get(name) ?? [], {
    names: [embeddingName, projectionName(config)],
    partRows: tableRows(config, device.bufferBytes),
  });
  const parts = { config, frozen, store, sessions, device };
  return new DecoderEngine({
    config,
    contexts: new BatchContexts(config, device, sessions),
    embedding: openEmbedding(parts),
    blocks: await Blocks.create({ ...parts, adapters, recompute }),
    head: new Head(parts),
    store,
    sessions,
    device,
    shouldStop,
    onBlock: options.onBlock,
  });
}

async function initialiseParameters(
  store: ParameterStore,
  weights: WeightReader,
  adapters: AdapterPlan,
  onHost: boolean,
): Promise<void> {
  const parameters = new Float32Array(store.layout.size);
  const initial = new Map<string, Float32Array>(
    [...adapters.modules].flatMap(([path, adapter]) =>
      adapter.tensors.map((tensor) => [`${path}.${tensor.name}`, tensor.initial] as const),
    ),
  );
  for (const tensor of store.layout.tensors) {
    const known = initial.get(tensor.name);
    const values = known ?? (await readFloat32(weights, tensor));
    parameters.set(values, tensor.offset);
    if (!known) releaseArray(values);
  }
  await store.writeState({ parameters });
  // With full fine-tuning as large as the model, and the collector may come after the first steps. (What goes to
  // another device is that device's until it is there.)
  if (onHost) releaseArray(parameters);
}

/** A resident weight is the engine's own copy: A0 is subtracted there once instead of every step. */
function explicitWhereResident(plan: AdapterPlan, frozen: FrozenWeights): AdapterPlan {
  if (!frozen.resident) return plan;
  const modules = [...plan.modules].map(
    ([path, adapter]) => [path, adapter.explicit?.() ?? adapter] as const,
  );
  return { ...plan, modules: new Map(modules) };
}

async function subtractInitialDeltas(
  frozen: FrozenWeights,
  adapters: AdapterPlan,
  threads: number,
): Promise<void> {
  const deltas = new DenseDeltas(threads);
  for (const adapter of adapters.modules.values()) {
    if (!adapter.subtractsInitialDelta) continue;
    const name = `${adapter.module.path}.weight`;
    const [weight] = frozen.read([name]) as [Float32Array];
    frozen.replace(name, await deltas.residual(adapter, weight));
  }
  await deltas.dispose();
}
