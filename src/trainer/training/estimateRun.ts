/** Memory and time of a run before its first step, from its real model, data and machine. */
import type { RunConfig } from '../../config/runConfig';
import { type BufferCuts, bufferCuts, checkModelBuffers } from '../../estimate/bufferUse';
import {
  estimateTraining,
  secondsPerStep,
  type TrainingEstimate,
} from '../../estimate/estimateTraining';
import { DEFAULT_RESIDENT_LIMIT } from '../../estimate/residentLimit';
import { type Fit, fitMemory } from '../../estimate/fitMemory';
import { elementBytes } from '../../models/dtype';
import type { RunManifest } from '../../protocol/runFiles';
import { scoresBytes } from '../engine/batchContext';
import { finalNormName } from '../engine/parameterLayout';
import { OrtGemm } from '../ort/ortGemm';
import { availableMemory } from './availableMemory';
import { physicalCores } from './physicalCores';
import type { ModelParts } from './prepareModel';
import type { DeviceKind } from './probeDevices';
import type { RunBatches } from './stepBatches';

/** Steps whose batches stand for all. */
const sampledSteps = 8;
const probeSize = 512;
const probeRuns = 5;

export interface RunEstimate {
  /** At the longest sequence of the training data. */
  memory: TrainingEstimate;
  /** How a step is to be computed so that it fits. */
  fit: Fit;
  /** Bytes that the choice was made for; undefined where nobody knows. */
  availableBytes: number | undefined;
  /** On a GPU whose largest buffer is known. */
  cuts: BufferCuts | undefined;
  manifest: NonNullable<RunManifest['estimate']>;
}

/**
 * @param machine the device, and the sequences at once that an earlier process has settled on
 * @throws DotaError `adapter.noTarget`, `adapter.shape`, `adapter.rank`; `device.unavailable` where a tensor of
 *   the model cannot be cut to the GPU's largest buffer
 */
export async function estimateRun(
  config: RunConfig,
  model: Pick<ModelParts, 'config' | 'weights'>,
  batches: RunBatches,
  machine: {
    device: DeviceKind;
    bufferBytes?: number | undefined;
    microBatch?: number | undefined;
  },
): Promise<RunEstimate> {
  const { training, quantization } = config;
  const { microBatch = Infinity, device, bufferBytes } = machine;
  if (bufferBytes !== undefined) checkModelBuffers(model.config, config, bufferBytes);
  const { dtype } = await model.weights.read(finalNormName);
  const sampled = Math.min(sampledSteps, batches.stepsPerEpoch);
  const steps = Array.from({ length: sampled }, (_, i) => batches.step(i + 1)).flat();
  const mean = (pick: (batch: (typeof steps)[number]) => number): number =>
    steps.reduce((sum, batch) => sum + pick(batch), 0) / Math.max(1, steps.length);
  const shape = {
    config: model.config,
    device,
    scoresBytes: scoresBytes({ kind: device, bufferBytes }),
    bytesPerWeight: elementBytes[dtype],
    method: config.method,
    adapter: config.adapter,
    quantizedBits: quantization.load_in_4bit
      ? quantization.bnb_4bit_use_double_quant
        ? 4.127
        : 4.5
      : undefined,
    optim: training.optim,
    batch: training.per_device_train_batch_size,
    accumulation: training.gradient_accumulation_steps,
    // A GPU keeps 16-bit weights as narrow as they are in the file.
    residentLimit: device === 'webgpu' && elementBytes[dtype] < 4 ? 0 : DEFAULT_RESIDENT_LIMIT,
  };
  const batch = Math.min(shape.batch, microBatch);
  const availableBytes = await availableMemory(device);
  const fit = fitMemory(
    {
      ...shape,
      batch,
      accumulation: (shape.accumulation * shape.batch) / batch,
      ...lengthsOf(batches, config),
    },
    {
      availableBytes,
      bufferBytes,
      recompute: training.gradient_checkpointing,
      findBatchSize: training.auto_find_batch_size,
    },
  );
  const memory = fit.estimate;
  const largest = { batch: fit.batch, sequence: lengthsOf(batches, config).sequence };
  const cuts =
    bufferBytes === undefined
      ? undefined
      : bufferCuts(model.config, config, largest, { bufferBytes, scoresBytes: shape.scoresBytes });
  const typical = estimateTraining({
    ...shape,
    recompute: fit.recompute,
    batch: mean((batch) => batch.batchSize),
    sequence: mean((batch) => batch.sequenceLength),
    labelled: mean((batch) => batch.lossTokens / (batch.batchSize * batch.sequenceLength)),
  });
  const seconds =
    device === 'webgpu'
      ? undefined
      : secondsPerStep(typical, await cpuRate(config.threads || physicalCores()));
  return {
    memory,
    fit,
    availableBytes,
    cuts,
    manifest: {
      peakRssMb: Math.round(memory.totalBytes / 2 ** 20),
      ...(seconds === undefined ? {} : { secondsPerStep: seconds }),
    },
  };
}

/** The longest sequence and how many lengths there are. Packed rows are full but for the last few. */
function lengthsOf(
  { paddedLengths }: RunBatches,
  { data }: RunConfig,
): { sequence: number; lengths: number } {
  if (data.packing) return { sequence: data.max_length, lengths: 1 };
  return { sequence: Math.max(1, ...paddedLengths), lengths: paddedLengths.size };
}

/** fp32 operations a second of one product, the best of a few. */
async function cpuRate(threads: number): Promise<number> {
  const gemm = new OrtGemm(threads);
  try {
    const data = new Float32Array(probeSize ** 2).fill(0.5);
    const matrix = { data, rows: probeSize, cols: probeSize };
    let best = Infinity;
    for (let run = 0; run < probeRuns; run++) {
      const started = performance.now();
      await gemm.f32(matrix, matrix);
      best = Math.min(best, performance.now() - started);
    }
    return (2 * probeSize ** 3) / (best / 1000);
  } finally {
    await gemm.dispose();
  }
}
