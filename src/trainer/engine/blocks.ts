/** Runs the decoder's blocks, forward and backward, through their shared graphs. */
import type { AdapterPlan, ModuleAdapter } from '../../adapters/adapter';
import {
  type BlockTensorShape,
  blockTensors,
  type LinearPath,
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

const summedInput = (path: LinearPath): string => `summed.${path}`;

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

  private constructor(options: BlocksOptions, blocks: readonly Block[]) {
    this.#options = options;
    this.#blocks = blocks;
    const first = options.store.layout.blocks.findIndex((group) => group.size > 0);
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
    const session = await this.#options.sessions.get(
      `forward ${save} ${context.batch}x${context.sequence} ${block.signature}`,
      () => buildBlockForward(block.plan, shape, { save }),
    );
    const { output, ...saved } = await session.run(await this.#feeds(layer, hidden, context));
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
    const session = await sessions.get(
      `backward ${inputGradient} ${context.batch}x${context.sequence} ${block.signature}`,
      () => buildBlockBackward(block.plan, shape, { recompute, inputGradient }),
    );
    const group = store.layout.blocks[layer];
    const gradient = group && group.size > 0 ? store.group(group).gradient : undefined;
    const results = await session.run(
      {
        ...(await this.#feeds(layer, tape.hidden, context)),
        ...tape.saved,
        output_gradient: outputGradient,
        ...(gradient && { gradient: gradient.value }),
      },
      gradient && { next_gradient: gradient },
    );
    return results['input_gradient'];
  }

  async #feeds(layer: number, hidden: Value, context: BatchContext): Promise<Values> {
    const { frozen, store } = this.#options;
    const { baseNames, adapterFeeds, summed } = this.#blocks[layer] as Block;
    const { cos, sin, masks, batch, sequence } = context;
    const prefix = layerPrefix(layer);
    const group = store.layout.blocks[layer];
    const weights: Values = {
      ...frozen.feeds(baseNames.map((name) => ({ name: prefix + name, input: frozenInput(name) }))),
      ...adapterFeeds,
      ...(group && group.size > 0 && { parameters: store.group(group).parameters.value }),
    };
    const sums = await this.#sums(layer, weights, summed(batch * sequence));
    return { hidden, cos, sin, ...masks, ...weights, ...sums };
  }

  /**
   * Adds the changes to the widened weights where they lie, one layer after the other: the runtime's
   * binding hands out a copy of what it has written, and of all layers at once that would be a block.
   */
  async #sums(layer: number, weights: Values, summed: readonly LinearPath[]): Promise<Values> {
    const block = this.#blocks[layer] as Block;
    const sums: Record<string, Value> = {};
    for (const path of summed) {
      const session = await this.#options.sessions.get(`sum ${path} ${block.signature}`, () =>
        buildSum(block, path),
      );
      const slot = { value: weights[frozenInput(`${path}.weight`)] as Value };
      await session.run(weights, { [summedInput(path)]: slot });
      sums[summedInput(path)] = slot.value;
    }
    return sums;
  }
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
    const product: Tensor = summed(dimension(x.shape, 0)).includes(path)
      ? gemm(x, givenSum(path, sum(path, tensor)), { transposeB: true })
      : adapter
        ? adapter.apply(x, weight, (name) => tensor(`${path}.${name}`))
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

/**
 * The sum as an input: what would compute it is dead in the forward pass, and the gradient that
 * arrives at it goes on to the adapter's tensors as if it had been computed here.
 */
function givenSum(path: LinearPath, sum: Tensor): Tensor {
  const { graph } = sum;
  const input = graph.input(summedInput(path), 'float32', sum.shape);
  return graph.withOrigin(input, { inputs: [sum], vjp: (gradient) => [gradient] });
}
