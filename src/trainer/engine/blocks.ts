/** Runs the decoder's blocks, forward and backward, through their shared graphs. */
import type { AdapterPlan, ModuleAdapter } from '../../adapters/adapter';
import {
  type BlockTensorShape,
  blockTensors,
  type LinearPath,
  largestMatrixBytes,
  linearPaths,
} from '../../graph/decoder/block';
import {
  type BlockPlan,
  type BlockShape,
  buildBlockBackward,
  buildBlockForward,
  declareFrozen,
  declareTrainable,
  frozenInput,
  type FrozenTensorShape,
  summedInput,
} from '../../graph/decoder/blockGraphs';
import { type BuiltGraph, Graph, type Tensor } from '../../graph/graph';
import type { DecoderConfig } from '../../models/modelConfig';
import type { Value, Values } from '../ort/values';
import type { Device } from '../ort/device';
import type { BatchContext } from './batchContext';
import type { FrozenWeights } from './frozenWeights';
import { layerPrefix } from './parameterLayout';
import type { ParameterStore } from './parameterStore';
import type { SessionCache } from './sessionCache';
import { dimension } from '../../graph/shape';
import { storageSignature } from '../../graph/layers/storedWeight';
import { add } from '../../graph/ops/elementwise';
import { gemm } from '../../graph/ops/matmul';

/** What the backward pass of one block needs from its forward pass. */
export interface BlockTape {
  hidden: Value;
  saved: Values;
}

interface Block {
  plan: BlockPlan;
  /** Equal for blocks that can share sessions. */
  signature: string;
  /** Base weights, by their path inside the block. */
  baseNames: readonly string[];
  /** Frozen adapter tensors under their input names. */
  adapterFeeds: Values;
  /**
   * Layers whose sum of weight and change is formed before the block runs on so many tokens, in the very
   * memory that the weight was widened to: inside of the block's graphs it would be there beside the
   * weight.
   */
  summed: (tokens: number) => readonly LinearPath[];
  sum: LayerSum;
}

/** Weight and adapter's change of a linear layer, `[out, in]`. */
type LayerSum = (path: LinearPath, tensor: (name: string) => Tensor) => Tensor;

export interface BlocksOptions {
  config: DecoderConfig;
  adapters: AdapterPlan;
  frozen: FrozenWeights;
  store: ParameterStore;
  sessions: SessionCache;
  device: Device;
  recompute: boolean;
}

export class Blocks {
  readonly #options: BlocksOptions;
  readonly #blocks: readonly Block[];
  /** The lowest block with trainable parameters: the backward pass ends there. */
  readonly firstTrainable: number;
  /** Where weights are widened block by block: the most of them at a time. */
  readonly #matrixBytes: number | undefined;

  private constructor(options: BlocksOptions, blocks: readonly Block[]) {
    this.#options = options;
    this.#blocks = blocks;
    const first = options.store.layout.blocks.findIndex((group) => group.size > 0);
    const { config, frozen } = options;
    const widens = linearPaths.some((path) => frozen.widens(`${layerPrefix(0)}${path}.weight`));
    this.#matrixBytes = widens ? largestMatrixBytes(config) : undefined;
    this.firstTrainable = first < 0 ? options.config.numLayers : first;
  }

  /** Plans all blocks and puts their frozen adapter tensors on the device. */
  static async create(options: BlocksOptions): Promise<Blocks> {
    const blocks: Block[] = [];
    for (let layer = 0; layer < options.config.numLayers; layer++) {
      blocks.push(await planBlock(options, layer));
    }
    return new Blocks(options, blocks);
  }

  /** @param keep whether a backward pass of this block follows */
  async forward(
    layer: number,
    hidden: Value,
    context: BatchContext,
    keep: boolean,
  ): Promise<{ output: Value; tape: BlockTape | undefined }> {
    const block = this.#blocks[layer] as Block;
    const save = keep && !this.#options.recompute;
    const shape = blockShape(context);
    const session = await this.#options.sessions.stages(
      `forward ${save} ${context.batch}x${context.sequence} ${block.signature}`,
      () => buildBlockForward(block.plan, shape, { save, matrixBytes: this.#matrixBytes }),
    );
    const { output, ...saved } = await session.run(
      this.#feeds(layer, hidden, context),
      this.#weights(layer, context),
    );
    return {
      output: output as Value,
      tape: keep ? { hidden, saved } : undefined,
    };
  }

  /**
   * Adds to the block's gradient.
   * @returns the gradient of the block's input; undefined where `inputGradient` is false
   */
  async backward(
    layer: number,
    tape: BlockTape,
    outputGradient: Value,
    context: BatchContext,
    inputGradient: boolean,
  ): Promise<Value | undefined> {
    const { recompute, store, sessions } = this.#options;
    const block = this.#blocks[layer] as Block;
    const shape = blockShape(context);
    const session = await sessions.stages(
      `backward ${inputGradient} ${context.batch}x${context.sequence} ${block.signature}`,
      () =>
        buildBlockBackward(block.plan, shape, {
          recompute,
          inputGradient,
          matrixBytes: this.#matrixBytes,
        }),
    );
    const group = store.layout.blocks[layer];
    const gradient = group && group.size > 0 ? store.group(group).gradient : undefined;
    const results = await session.run(
      {
        ...this.#feeds(layer, tape.hidden, context),
        ...tape.saved,
        output_gradient: outputGradient,
        ...(gradient && { gradient: gradient.value }),
      },
      this.#weights(layer, context),
      gradient && { next_gradient: gradient },
    );
    return results['input_gradient'];
  }

  /** Everything but the base weights. */
  #feeds(layer: number, hidden: Value, context: BatchContext): Values {
    const { store } = this.#options;
    const { adapterFeeds } = this.#blocks[layer] as Block;
    const { cos, sin, masks } = context;
    const group = store.layout.blocks[layer];
    return {
      hidden,
      cos,
      sin,
      ...masks,
      ...adapterFeeds,
      ...(group && group.size > 0 && { parameters: store.group(group).parameters.value }),
    };
  }

  /** The base weights and sums among a stage's inputs; on the CPU they are valid until the next call. */
  #weights(layer: number, context: BatchContext): (inputs: ReadonlySet<string>) => Promise<Values> {
    const { frozen } = this.#options;
    const block = this.#blocks[layer] as Block;
    const prefix = layerPrefix(layer);
    const summed = block.summed(context.batch * context.sequence);
    return async (inputs) => {
      const sums = summed.filter((path) => inputs.has(summedInput(path)));
      const summands = new Set(sums.map((path) => `${path}.weight`));
      const weights = frozen.feeds(
        block.baseNames
          .filter((name) => summands.has(name) || takes(inputs, frozenInput(name)))
          .map((name) => ({ name: prefix + name, input: frozenInput(name) })),
      );
      return { ...weights, ...(await this.#sums(layer, weights, sums)) };
    };
  }

  /**
   * Adds the changes to the widened weights where they lie, one layer after the other: of all layers at once
   * the changes would be as large as the block.
   */
  async #sums(layer: number, weights: Values, summed: readonly LinearPath[]): Promise<Values> {
    const { sessions, store } = this.#options;
    const block = this.#blocks[layer] as Block;
    const group = store.layout.blocks[layer];
    const sums: Record<string, Value> = {};
    for (const path of summed) {
      const session = await sessions.get(`sum ${path} ${block.signature}`, () =>
        buildSum(block, path),
      );
      const slot = { value: weights[frozenInput(`${path}.weight`)] as Value };
      const feeds = {
        ...weights,
        ...block.adapterFeeds,
        ...(group && group.size > 0 && { parameters: store.group(group).parameters.value }),
      };
      await session.run(feeds, { [summedInput(path)]: slot });
      sums[summedInput(path)] = slot.value;
    }
    return sums;
  }
}

/** Whether a weight is among the inputs, as one or in the parts in which it lies on a device. */
function takes(inputs: ReadonlySet<string>, weight: string): boolean {
  return inputs.has(weight) || [...inputs].some((name) => name.startsWith(`${weight}.`));
}

/** `frozen.*.weight` and the adapter's tensors -> `summed.*` of one layer. */
function buildSum({ plan, sum }: Block, path: LinearPath): BuiltGraph {
  const graph = new Graph();
  const tensors = new Map<string, Tensor>();
  for (const tensor of plan.frozen) {
    tensors.set(tensor.name, declareFrozen(graph, tensor, 'float32'));
  }
  const trainable = declareTrainable(graph, plan.trainable, 'float32');
  plan.trainable.forEach(({ name }, i) => tensors.set(name, trainable[i] as Tensor));
  graph.output(
    summedInput(path),
    sum(path, (name) => tensors.get(name) as Tensor),
  );
  return graph.build();
}

function blockShape({ batch, sequence, cut }: BatchContext): BlockShape {
  return { batch, sequence, cut, dtype: 'float32' };
}

async function planBlock(
  { config, adapters, frozen, device }: BlocksOptions,
  layer: number,
): Promise<Block> {
  const own = new Map<LinearPath, ModuleAdapter>();
  for (const path of linearPaths) {
    const adapter = adapters.modules.get(layerPrefix(layer) + path);
    if (adapter) own.set(path, adapter);
  }
  const tensors = (trainable: boolean): (BlockTensorShape & { initial: Float32Array })[] =>
    [...own].flatMap(([path, adapter]) =>
      adapter.tensors
        .filter((tensor) => tensor.trainable === trainable)
        .map(({ name, shape, initial }) => ({ name: `${path}.${name}`, shape, initial })),
    );
  const base: FrozenTensorShape[] = blockTensors(config).map((tensor) => {
    const storage = adapters.trainsBaseWeights
      ? undefined
      : frozen.storage(layerPrefix(layer) + tensor.name);
    return { ...tensor, ...(storage && { storage }) };
  });
  const frozenAdapter = tensors(false);
  const trainsBase = adapters.trainsBaseWeights;
  const biases = new Set(base.map(({ name }) => name).filter((name) => name.endsWith('.bias')));

  const widened = [...own].filter(([path]) => frozen.widens(`${layerPrefix(layer)}${path}.weight`));
  const summed: Block['summed'] = (tokens) =>
    widened.filter(([, adapter]) => adapter.formsSum?.(tokens) === true).map(([path]) => path);
  const sum: LayerSum = (path, tensor) => {
    const weight = tensor(`${path}.weight`);
    const adapter = own.get(path) as ModuleAdapter;
    return add(
      weight,
      adapter.delta((name) => tensor(`${path}.${name}`), weight),
    );
  };
  const linear: BlockPlan['linear'] = (path, x, tensor) => {
    const weight = tensor(`${path}.weight`);
    const adapter = own.get(path);
    const formed = summed(dimension(x.shape, 0)).includes(path);
    const given = formed ? x.graph.input(summedInput(path), 'float32', weight.shape) : undefined;
    const product = adapter
      ? adapter.apply(x, weight, (name) => tensor(`${path}.${name}`), given)
      : gemm(x, weight, { transposeB: true });
    const bias = `${path}.bias`;
    return biases.has(bias) ? add(product, tensor(bias)) : product;
  };
  const adapterFeeds: Record<string, Value> = {};
  for (const { name, shape, initial } of frozenAdapter) {
    adapterFeeds[frozenInput(name)] = await device.upload(initial, 'float32', shape);
  }
  const stored = base.map(({ storage }) => (storage ? storageSignature(storage) : '')).join(',');
  return {
    plan: {
      config,
      trainable: trainsBase ? base : tensors(true),
      frozen: trainsBase ? [] : [...base, ...frozenAdapter],
      linear,
    },
    signature: [...own]
      .map(([path, adapter]) => `${path}=${adapter.signature}`)
      .concat(stored)
      .join(' '),
    baseNames: trainsBase ? [] : base.map(({ name }) => name),
    adapterFeeds,
    summed,
    sum,
  };
}
