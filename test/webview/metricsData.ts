/** Realistic runs for the metrics panel, made from a formula so that every test sees the same. */
import type { MetricsHostMessage, RunSummary } from '../../src/protocol/metricsPanel';

type Append = Extract<MetricsHostMessage, { type: 'append' }>;

/** Deterministic noise in [-1, 1). */
function noise(i: number, salt: number): number {
  let h = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 2 ** 31 - 1;
}

export interface RunShape {
  steps: number;
  totalSteps: number;
  start: number;
  floor: number;
  rate: number;
  salt: number;
  /** Memory in use on the GPU that the run is on. */
  gpuMb?: number;
}

/** Rows `[from, to)` of a run (steps from + 1 to `to`). */
export function rows(runId: string, shape: RunShape, from: number, to: number): Append {
  const n = to - from;
  const column = (f: (step: number) => number): Float64Array =>
    Float64Array.from({ length: n }, (_, i) => f(from + i + 1));
  const { totalSteps, salt } = shape;
  const curve = (step: number): number =>
    shape.floor + (shape.start - shape.floor) * Math.exp((-shape.rate * step) / totalSteps);
  const warmup = Math.max(1, Math.round(totalSteps * 0.05));
  const evalSteps = Array.from({ length: n }, (_, i) => from + i + 1).filter(
    (step) => step % Math.round(totalSteps / 12) === 0,
  );
  if (from === 0) evalSteps.unshift(0);
  const evals = Float64Array.from(evalSteps);
  return {
    type: 'append',
    runId,
    seq: to + Math.floor(to / 10),
    steps: {
      step: column((s) => s),
      tokens: column((s) => s * 812 + Math.round(40 * noise(s, salt))),
      elapsed: column((s) => s * 0.21 + 0.02 * noise(s, salt + 9)),
      loss: column((s) => curve(s) * (1 + 0.09 * noise(s, salt)) + 0.02 * noise(s, salt + 1)),
      learningRate: column(
        (s) =>
          2e-3 *
          (s < warmup
            ? s / warmup
            : 0.5 * (1 + Math.cos((Math.PI * (s - warmup)) / (totalSteps - warmup)))),
      ),
      gradNorm: column(
        (s) =>
          0.6 +
          1.8 * Math.exp((-3 * s) / totalSteps) +
          0.25 * Math.abs(noise(s, salt + 2)) +
          (noise(s, salt + 3) > 0.985 ? 2.2 : 0),
      ),
      tokensPerSecond: column((s) => 3850 + 140 * noise(s, salt + 4) - (s % 83 === 0 ? 900 : 0)),
      rssMb: column((s) => 386 + 24 * (1 - Math.exp(-s / 60)) + 2 * noise(s, salt + 5)),
      deviceMb: column((s) => (shape.gpuMb ?? NaN) * (1 - 0.1 * Math.exp(-s / 40))),
    },
    evals: {
      step: evals,
      tokens: evals.map((s) => s * 812),
      elapsed: evals.map((s) => s * 0.21),
      loss: evals.map((s) => curve(s) * 1.04 + 0.03 + 0.01 * noise(s, salt + 7)),
    },
    complete: true,
  };
}

const fingerprint = {
  baseWeights: 'a1',
  tokenizer: 'b1',
  trainData: 'c1',
  validationData: 'd1',
  dataPolicy: 'completion|llm-adapters|128',
};

export const dotaShape: RunShape = {
  steps: 412,
  totalSteps: 1000,
  start: 3.9,
  floor: 0.42,
  rate: 6,
  salt: 1,
};
export const loraShape: RunShape = {
  steps: 1000,
  totalSteps: 1000,
  start: 3.9,
  floor: 0.55,
  rate: 5,
  salt: 20,
};
export const fullShape: RunShape = {
  steps: 760,
  totalSteps: 1000,
  start: 3.9,
  floor: 0.35,
  rate: 7,
  salt: 40,
};

/** As long as such reasons get. */
export const noGpu =
  'The process that asked the device "webgpu" ended without an answer. No Vulkan driver is installed: ' +
  'the folders of Vulkan have no description of one.';

export const gpuShape: RunShape = { ...dotaShape, gpuMb: 6120 };

/** A run that takes memory on the GPU, with more of it than was estimated. */
export function gpuRun(): RunSummary {
  return {
    id: '20261125-arith-gpu',
    name: 'Arithmetic on the GPU',
    state: 'running',
    createdAt: '2026-11-25T18:00:00Z',
    model: 'sample',
    method: 'dota',
    device: { kind: 'webgpu', name: 'WebGPU (NVIDIA RTX 4090)', threads: 2 },
    progress: { step: 412, totalSteps: 1000, epoch: 1.236, tokens: 334_544 },
    trainable: { parameters: 118_784, fraction: 0.0557 },
    peakRssMb: 421,
    peakDeviceMb: 6118,
    estimate: { peakRssMb: 5800 },
    fingerprint,
    changedSettings: [],
  };
}

export function runs(): RunSummary[] {
  return [
    {
      id: '20261124-arith-dota',
      name: 'Arithmetic, DoTA r 8',
      state: 'running',
      createdAt: '2026-11-24T18:00:00Z',
      startedAt: '2026-11-24T18:00:02Z',
      model: 'sample',
      method: 'dota',
      device: { kind: 'cpu', name: 'AMD EPYC', threads: 2, reason: noGpu },
      progress: { step: 412, totalSteps: 1000, epoch: 1.236, tokens: 334_544 },
      best: { step: 332, validationLoss: 0.9731 },
      trainable: { parameters: 118_784, fraction: 0.0557 },
      peakRssMb: 421,
      fingerprint,
      changedSettings: [
        { key: 'training.learning_rate', value: '0.002', default: '0.001' },
        { key: 'training.max_steps', value: '1000', default: '-1' },
        { key: 'adapter.mpo_cores', value: '4', default: '3' },
      ],
    },
    {
      id: '20261124-arith-lora',
      name: 'Arithmetic, LoRA r 4 (matched parameters)',
      state: 'finished',
      createdAt: '2026-11-24T16:00:00Z',
      model: 'sample',
      method: 'lora',
      progress: { step: 1000, totalSteps: 1000, epoch: 3, tokens: 812_000 },
      best: { step: 996, validationLoss: 0.6114 },
      trainable: { parameters: 120_832, fraction: 0.0566 },
      fingerprint,
      changedSettings: [],
    },
    {
      id: '20261123-arith-full',
      name: 'Arithmetic, full',
      state: 'stopped',
      createdAt: '2026-11-23T16:00:00Z',
      model: 'sample',
      method: 'full',
      progress: { step: 760, totalSteps: 1000, epoch: 2.28, tokens: 617_120 },
      best: { step: 747, validationLoss: 0.4102 },
      fingerprint: { ...fingerprint, trainData: 'c2', dataPolicy: 'all|llm-adapters|128' },
      changedSettings: [],
    },
    {
      id: '20261122-old',
      name: 'First try',
      state: 'crashed',
      createdAt: '2026-11-22T09:00:00Z',
      model: 'sample',
      method: 'dota',
      progress: { step: 57, totalSteps: 1000, epoch: 0.171, tokens: 46_284 },
      fingerprint,
      changedSettings: [],
    },
  ];
}
