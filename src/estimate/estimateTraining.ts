/**
 * What a training step needs, before it is run: bytes by kind and floating-point operations. A model
 * of the engine in `src/trainer/engine`, from shapes alone; `test/unit/estimate` holds it against
 * measured memory.
 */
import type { LinearModule } from '../adapters/adapter';
import type { AdapterOptions } from '../adapters/method';
import { linearModules, selectModules } from '../adapters/targets';
import type { Method, RunConfig } from '../config/runConfig';
import { STATE_BLOCK } from '../core/blockwise8bit';
import { largestLogits, streamedColumns } from '../graph/decoder/headChunks';
import {
  attentionSize,
  largestMatrixBytes,
  linearPaths,
  linearShape,
} from '../graph/decoder/block';
import { attentionCut, isCut, MAX_SCORES_BYTES } from '../graph/layers/attentionCut';
import { countParameters } from '../models/config';
import type { DecoderConfig } from '../models/modelConfig';
import { type AdapterSize, adapterSize } from './adapterSize';
import { type AdapterGraph, adapterNodes, moreGraphsBytes } from './compiledGraphs';

export interface TrainingShape {
  config: DecoderConfig;
  /** Bytes of a number in the checkpoint: 2 for bf16 and f16, 4 for f32. */
  bytesPerWeight: number;
  method: Method;
  adapter: AdapterOptions;
  /** Bits of a frozen block matrix where it is kept in NF4 (4.127 with double quantisation). */
  quantizedBits?: number | undefined;
  /** How AdamW keeps its moments; fp32 unless given. */
  optim?: RunConfig['training']['optim'];
  /** Sequences of a micro-batch. */
  batch: number;
  /** Tokens of a sequence, padding included. */
  sequence: number;
  /** Lengths that sequences are padded to, each of which has its own graphs; 1 unless given. */
  lengths?: number;
  /** Micro-batches a step. */
  accumulation: number;
  /** Share of the tokens that carry a label; 1 is the upper bound. */
  labelled?: number;
  recompute: boolean;
  /** Whose memory is meant; the CPU's unless given. A GPU's has nothing of the process in it. */
  device?: 'cpu' | 'webgpu';
  /** Bytes as fp32 up to which the frozen weights are widened once. */
  residentLimit: number;
  /** The most that the scores of a piece of attention may take; the CPU's unless given. */
  scoresBytes?: number | undefined;
}

export const memoryKinds = [
  'weights',
  'residual',
  'adapter',
  'gradients',
  'optimizer',
  'activations',
  'logits',
  'workspace',
  'runtime',
] as const;
export type MemoryKind = (typeof memoryKinds)[number];

export interface TrainingEstimate {
  /**
   * Bytes: `weights` as they are held, `residual` what an explicit one adds, `adapter` trainable
   * parameters and frozen initial cores, `activations` kept for the backward pass, `workspace` of
   * the one block that runs, `logits` what the head takes beyond it, `runtime` Node, the
   * trainer, onnxruntime and its compiled graphs, which take nothing of a GPU's memory.
   */
  bytes: Record<MemoryKind, number>;
  totalBytes: number;
  /** Bytes of the largest tensor that has a row for each token. */
  largestTensorBytes: number;
  baseParameters: number;
  trainableParameters: number;
  /** Floating-point operations of one optimizer step, a multiply-add counted as two. */
  flopsPerStep: number;
  /** Tokens of one optimizer step, padding included. */
  tokensPerStep: number;
}

const float = 4;
/** Of a moment, a parameter; in 8 bits with the fp32 scale of a block. */
const momentBytes = { adamw_torch: float, adamw_8bit: 1 + float / STATE_BLOCK };
/*
 * Fitted to 38 measured peaks (DoTA, LoRA and full fine-tuning of four shapes, with and without
 * recompute, weights widened and in the file's type), all but one of which they meet within 10 percent.
 */
/** Node, the bundle, onnxruntime's library and its compiled graphs. */
const runtimeBytes = 110 * 2 ** 20;
/** The rest of the trainer: its main thread, tokenizer, dataset, journal (28 to 49 MB with the sample). */
export const trainerBytes = 42 * 2 ** 20;
/** Of the values that are kept for the backward pass: the last block's are used at once. */
const keptShare = 0.8;
/** Tensors of the size of the head's logits, what the allocator cannot use again included. */
const logitsTensors = { whole: 8, streamed: 3.5 };
/** The same of a block's tensors: scores, `[tokens, intermediate]`, dense changes of the largest layer. */
const blockFragmentation = 1.2;
const scoreTensors = 4;
const wideTensors = 5;
const changeTensors = 3;
/** Of a group of parameters that train as a whole: its gradient and its update come and go. */
const trainedCopies = 2;

/** @throws DotaError `adapter.noTarget`, `adapter.shape`, `adapter.rank` */
export function estimateTraining(shape: TrainingShape): TrainingEstimate {
  const { config, method, adapter, batch, sequence, recompute } = shape;
  const { hiddenSize, vocabSize, numLayers } = config;
  const tokens = batch * sequence;
  const base = countParameters(config);
  const full = method === 'full';
  const onGpu = shape.device === 'webgpu';
  const blockMatrices = linearModules(config).reduce(
    (sum, module) => sum + module.outFeatures * module.inFeatures,
    0,
  );
  const quantized = full ? undefined : shape.quantizedBits;
  const resident = full || float * base <= shape.residentLimit;

  const targets = full ? [] : selectModules(config, adapter);
  const implicit = !resident && quantized === undefined && adapter.residual === 'implicit';
  const sizes = targets.map((module) => ({
    module,
    size: adapterSize(method === 'full' ? 'lora' : method, module, adapter, implicit),
  }));
  const trainable = full ? base : sizes.reduce((sum, { size }) => sum + size.trainable, 0);
  const frozenCores = sizes.reduce((sum, { size }) => sum + size.frozen, 0);
  const adapted = targets.reduce((sum, m) => sum + m.outFeatures * m.inFeatures, 0);
  const residual =
    resident || quantized !== undefined
      ? 0
      : sizes
          .filter(({ size }) => size.storesResidual)
          .reduce((sum, { module: m }) => sum + m.outFeatures * m.inFeatures, 0);

  const lowest = full ? 0 : Math.min(...targets.map(({ layer }) => layer));
  const trainedLayers = numLayers - lowest;
  const blockNumbers = blockMatrices / numLayers;
  const perBlock = sizes.filter(({ module }) => module.layer === lowest);
  const largest = Math.max(
    ...(full ? linearPaths.map((path) => area(linearShape(config, path))) : [0]),
    ...perBlock.map(({ module }) => module.outFeatures * module.inFeatures),
  );
  const labels = Math.ceil(tokens * (shape.labelled ?? 1));

  const streamed = !resident;
  const held = resident ? float : shape.bytesPerWeight;
  // A block runs in stages where its weights are widened, each with room for its largest matrix.
  const matrix = largestMatrixBytes(config) / float;
  const scratch = streamed
    ? Math.max(matrix, streamedColumns(config) * hiddenSize)
    : quantized === undefined
      ? 0
      : blockNumbers;
  const formsChange = (method !== 'lora' && method !== 'loretta') || adapter.use_dora;
  const size = attentionSize(config, { batch, sequence });
  const cut = attentionCut(size, shape.scoresBytes ?? MAX_SCORES_BYTES.cpu);
  const heads = (cut.keyHeads * config.numHeads) / config.numKeyValueHeads;
  const scores = cut.sequences * heads * cut.queries * sequence;
  // Attention in pieces keeps its result as well.
  const saved = savedWidth(config) + (isCut(size, cut) ? config.numHeads * config.headDim : 0);
  const kept = float * tokens * trainedLayers * (hiddenSize + (recompute ? 0 : saved));
  // The sums lie where the weights were widened.
  const summed = streamed && (method === 'dota' || method === 'random_mpo');
  const sums = summed ? 0 : streamed ? matrix : blockNumbers;
  const changes = formsChange ? sums + changeTensors * largest : 0;
  const graphs = moreGraphsBytes({
    lengths: shape.lengths ?? 1,
    blocks: blockKinds(sizes),
    adapterNodes: perBlock.length * adapterNodes(adapterGraph(method, adapter)),
    pieces:
      Math.ceil(batch / cut.sequences) *
      Math.ceil(config.numKeyValueHeads / cut.keyHeads) *
      Math.ceil(sequence / cut.queries),
  });
  const block =
    blockFragmentation *
    float *
    (scoreTensors * scores +
      wideTensors * tokens * config.intermediateSize +
      (recompute ? tokens * saved : 0) +
      changes);
  // Only in the machine's memory.
  const streamsHead = streamed && !onGpu;
  const head =
    float *
    (streamsHead ? logitsTensors.streamed : logitsTensors.whole) *
    largestLogits(config, labels, tokens, streamsHead);
  // The tied embedding is one group of parameters, each block another.
  const group = full ? Math.max(blockNumbers, vocabSize * hiddenSize) : 0;
  const bytes: Record<MemoryKind, number> = {
    weights: full
      ? 0
      : quantized === undefined
        ? held * (base - residual)
        : (quantized / 8) * blockMatrices + held * (base - blockMatrices),
    residual: float * residual,
    adapter: float * (trainable + frozenCores),
    gradients: float * trainable,
    optimizer: 2 * momentBytes[shape.optim ?? 'adamw_torch'] * trainable,
    activations: keptShare * kept,
    // Head and blocks take turns.
    logits: Math.max(0, head - block),
    workspace: float * scratch + block + trainedCopies * float * group,
    runtime: onGpu ? 0 : runtimeBytes + trainerBytes + graphs,
  };
  return {
    bytes,
    totalBytes: memoryKinds.reduce((sum, kind) => sum + bytes[kind], 0),
    largestTensorBytes:
      float * tokens * Math.max(...linearPaths.flatMap((path) => linearShape(config, path))),
    baseParameters: base,
    trainableParameters: trainable,
    flopsPerStep: shape.accumulation * microBatchFlops(),
    tokensPerStep: shape.accumulation * tokens,
  };

  /** Forward, backward and, with recompute, the forward once more. */
  function microBatchFlops(): number {
    // Pieces look at no key after their last query.
    const looked = cut.queries < sequence ? (sequence + cut.queries) / 2 : sequence;
    const attention = numLayers * tokens * looked * config.numHeads * config.headDim * 2;
    const products = tokens * blockMatrices;
    // Attention's backward has two products for each of the forward's two.
    const share = trainedLayers / numLayers;
    const forward = products + attention;
    const towardsInput = share * (products + 2 * attention);
    // A method that forms the dense change needs the dense gradient of each adapted weight.
    const towardsWeights = tokens * (full ? blockMatrices : formsChange ? adapted : 0);
    const again = recompute ? share * forward : 0;
    const adapters = sizes.reduce(
      (sum, { size }) => sum + 3 * tokens * size.perToken + (recompute ? 4 : 3) * size.merge,
      0,
    );
    const head = labels * vocabSize * hiddenSize * (full ? 3 : 2);
    return 2 * (forward + towardsInput + towardsWeights + again + adapters + head);
  }
}

/** Kinds of adapted blocks: those whose adapters have equal sizes share their graphs. */
function blockKinds(sizes: readonly { module: LinearModule; size: AdapterSize }[]): number {
  const layers = new Map<number, string>();
  for (const { module, size } of sizes) {
    const earlier = layers.get(module.layer) ?? '';
    layers.set(module.layer, `${earlier} ${module.path.split('.').at(-1)} ${size.trainable}`);
  }
  return Math.max(1, new Set(layers.values()).size);
}

function adapterGraph(method: Method, adapter: AdapterOptions): AdapterGraph {
  switch (method) {
    case 'dota':
    case 'random_mpo':
    case 'mpop':
      return { kind: 'mpo', cores: adapter.mpo_cores };
    case 'lora':
      return { kind: adapter.use_dora ? 'dora' : 'lora' };
    case 'loretta':
      return { kind: 'loretta' };
    case 'full':
      return { kind: 'none' };
  }
}

function area([rows, columns]: readonly [number, number]): number {
  return rows * columns;
}

/** Numbers a token that a block's forward pass keeps beside its input: q, k, v, o, gate, up, two norms' inverses. */
function savedWidth(config: DecoderConfig): number {
  return linearPaths
    .filter((path) => path !== 'mlp.down_proj')
    .reduce((sum, path) => sum + linearShape(config, path)[0], 2);
}

/** Seconds of a step at a rate of floating-point operations. */
export function secondsPerStep(estimate: TrainingEstimate, flopsPerSecond: number): number {
  return estimate.flopsPerStep / (flopsPerSecond * attainedShare);
}

/** What a step attains of the rate of one large matrix product: a cautious guess below `bench step`'s. */
const attainedShare = 0.7;
