/** The model and the adapter that `bench step` measures, on both sides alike. */
import { type AdapterPlan, fullPlan } from '../../src/adapters/adapter';
import { planAdapters } from '../../src/adapters/plan';
import { runConfigSchema } from '../../src/config/runConfig';
import type { Core } from '../../src/core/mpo/types';
import { chooseShape, fullBonds } from '../../src/core/mpo/shapes';
import { plainGemm } from '../../src/core/linalg/plainGemm';
import { Rng } from '../../src/core/rng';
import type { DecoderConfig } from '../../src/models/modelConfig';
import type { Batch, Engine } from '../../src/trainer/engine';
import { createEngine } from '../../src/trainer/engine/createEngine';
import { randomWeights } from '../../src/trainer/engine/randomWeights';
import type { Device } from '../../src/trainer/ort/device';

export interface BenchOptions {
  hidden: number;
  layers: number;
  batch: number;
  sequence: number;
  vocabulary: number;
  rank: number;
  cores: number;
  threads: number;
  method: 'dota' | 'lora' | 'full';
  /** Frozen matrices in NF4. */
  fourBit?: boolean;
}

export const defaults: BenchOptions = {
  hidden: 512,
  layers: 8,
  batch: 8,
  sequence: 128,
  vocabulary: 8192,
  rank: 16,
  cores: 4,
  threads: 2,
  method: 'dota',
};

export function decoderOf({
  hidden,
  layers,
  vocabulary,
}: Pick<BenchOptions, 'hidden' | 'layers' | 'vocabulary'>): DecoderConfig {
  const headDim = 64;
  const numHeads = hidden / headDim;
  return {
    architecture: 'llama',
    hiddenSize: hidden,
    intermediateSize: 3 * hidden,
    numLayers: layers,
    numHeads,
    numKeyValueHeads: Math.max(1, numHeads / 4),
    headDim,
    vocabSize: vocabulary,
    maxPositionEmbeddings: 4096,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    ropeScaling: undefined,
    tieWordEmbeddings: true,
    attentionBias: { qkv: false, o: false },
    mlpBias: false,
    queryKeyNorm: false,
    slidingWindow: undefined,
    initializerRange: 0.02,
    bosTokenId: undefined,
    eosTokenIds: [],
    padTokenId: undefined,
  };
}

/** Random ids; every position carries a label, as in pretraining-style fine-tuning. */
export function randomBatch(
  options: Pick<BenchOptions, 'batch' | 'sequence' | 'vocabulary'>,
): Batch {
  const { batch: batchSize, sequence: sequenceLength, vocabulary } = options;
  const size = batchSize * sequenceLength;
  const rng = new Rng(1, 'bench batch');
  const ids = () => Int32Array.from({ length: size }, () => rng.integer(vocabulary));
  return {
    batchSize,
    sequenceLength,
    inputIds: ids(),
    labels: ids(),
    positionIds: Int32Array.from({ length: size }, (_, i) => i % sequenceLength),
    segmentIds: new Int32Array(size).fill(1),
    lossTokens: size,
    tokens: size,
  };
}

export async function openEngine(options: BenchOptions, device: Device): Promise<Engine> {
  const config = decoderOf(options);
  return createEngine({
    config,
    weights: randomWeights(config, 0),
    adapters: await adaptersOf(options, config),
    device,
    threads: options.threads,
    ...(options.fourBit === true && { quantization: { doubleQuantization: true } }),
  });
}

/** Random cores stand in for the decomposition, which a step's time doesn't depend on. */
async function adaptersOf(options: BenchOptions, config: DecoderConfig): Promise<AdapterPlan> {
  if (options.method === 'full') return fullPlan;
  const { adapter } = runConfigSchema.parse({
    data: { train: 'none' },
    adapter: { r: options.rank, mpo_cores: options.cores },
  });
  return planAdapters({
    method: options.method,
    config,
    options: adapter,
    seed: 0,
    gemm: plainGemm,
    weight: () => Promise.reject(new Error('the bench gives the cores')),
    initialCores: ({ outFeatures, inFeatures, path }) => {
      const shape = chooseShape(outFeatures, inFeatures, options.cores);
      const bonds = fullBonds(shape).map((full) => Math.min(full, options.rank));
      return shape.rows.map((rows, k): Core => {
        const dims = [bonds[k - 1] ?? 1, rows, shape.cols[k]!, bonds[k] ?? 1] as const;
        const size = dims.reduce((product, d) => product * d, 1);
        return { shape: dims, data: new Rng(0, path, k).normals(size, 0.05) };
      });
    },
  });
}

/** Core shapes by weight size, for PyTorch's side. */
export function coreShapes({ hidden, cores, rank }: BenchOptions): Record<string, number[][]> {
  const keyValue = Math.max(1, hidden / 64 / 4) * 64;
  const sizes = [
    [hidden, hidden],
    [keyValue, hidden],
    [3 * hidden, hidden],
    [hidden, 3 * hidden],
  ];
  return Object.fromEntries(
    (sizes as [number, number][]).map(([out, into]) => {
      const shape = chooseShape(out, into, cores);
      const bonds = fullBonds(shape).map((full) => Math.min(full, rank));
      const list = shape.rows.map((i, k) => [bonds[k - 1] ?? 1, i, shape.cols[k]!, bonds[k] ?? 1]);
      return [`${out}x${into}`, list];
    }),
  );
}
