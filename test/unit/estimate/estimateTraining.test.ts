import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { runConfigSchema } from '../../../src/config/runConfig';
import {
  estimateTraining,
  trainerBytes,
  type TrainingEstimate,
  type TrainingShape,
} from '../../../src/estimate/estimateTraining';
import { largestLogits } from '../../../src/graph/decoder/headChunks';
import { computeEnvironment } from '../../../src/trainer/child/childEnvironment';
import { decoderOf, defaults } from '../../../bench/step/setup';
import { softwareGpuEnvironment, softwareGpuSupported } from '../../../scripts/software-gpu.mjs';
import type { ChildOptions } from './estimateChild';

const { adapter } = runConfigSchema.parse({ data: { train: 'none' } });
const shape: TrainingShape = {
  config: decoderOf(defaults),
  bytesPerWeight: 2,
  method: 'dota',
  adapter,
  batch: 2,
  sequence: 128,
  accumulation: 1,
  recompute: false,
  residentLimit: 2 ** 30,
};

/** Llama-3.2-1B. */
const billion: TrainingShape['config'] = {
  ...shape.config,
  hiddenSize: 2048,
  intermediateSize: 8192,
  numLayers: 16,
  numHeads: 32,
  numKeyValueHeads: 8,
  vocabSize: 128_256,
};

describe('the memory estimate', () => {
  const small = { layers: 5, batch: 3, sequence: 192, vocabulary: 6000, recompute: false };
  const cases: [string, ChildOptions][] = [
    ['dota', { ...small, hidden: 512, method: 'dota', resident: true }],
    ['dota, file’s type', { ...small, hidden: 512, method: 'dota', resident: false }],
    ['dota, recompute', { ...small, hidden: 512, method: 'dota', resident: true, recompute: true }],
    ['lora, both', { ...small, hidden: 512, method: 'lora', resident: false, recompute: true }],
    ['4-bit dota', { ...small, hidden: 512, method: 'dota', resident: true, quantized: true }],
    [
      '4-bit dota, file’s type',
      { ...small, hidden: 512, method: 'dota', resident: false, quantized: true },
    ],
    ['4-bit lora', { ...small, hidden: 512, method: 'lora', resident: false, quantized: true }],
    [
      'dota, mixed lengths',
      { ...small, hidden: 256, method: 'dota', resident: true, sequence: 448, mixed: true },
    ],
    [
      'lora, mixed lengths, file’s type',
      { ...small, hidden: 256, method: 'lora', resident: false, sequence: 448, mixed: true },
    ],
    ['full', { ...small, hidden: 256, method: 'full', resident: true }],
  ];
  // Linux only: the high-water mark is read from /proc.
  it.runIf(process.platform === 'linux').each(cases)(
    'is within 25 percent of a child’s peak: %s',
    (_name, options) => {
      const output = execFileSync(
        process.execPath,
        ['scripts/run-ts.mjs', 'test/unit/estimate/estimateChild.ts', JSON.stringify(options)],
        // As the trainer's child is started.
        { encoding: 'utf8', env: computeEnvironment(process.env) },
      );
      const measured = JSON.parse(output) as {
        peak: number;
        held: number;
        trainable: number;
        estimate: TrainingEstimate;
      };
      expect(measured.estimate.trainableParameters).toBe(measured.trainable);
      // Allocators and the collector's timing move a peak by a tenth from run to run.
      // The child has an engine, and nothing else of a trainer.
      const ratio = (measured.estimate.totalBytes - trainerBytes) / measured.peak;
      expect(ratio).toBeGreaterThan(0.75);
      expect(ratio).toBeLessThan(1.25);
      // What the engine holds between steps, four trained numbers a parameter included; a frozen copy
      // of the initial cores was there before. Exact but for 4-bit weights, whose bits are rounded.
      const { weights, residual, gradients, optimizer } = measured.estimate.bytes;
      const held = weights + residual + 4 * measured.trainable + gradients + optimizer;
      expect(Math.abs(measured.held / held - 1)).toBeLessThan(1e-3);
    },
  );

  const tiny = { hidden: 128, layers: 3, batch: 2, sequence: 64, vocabulary: 1000 };
  const onGpu: [string, ChildOptions][] = [
    ['dota', { ...tiny, method: 'dota', resident: false, recompute: false }],
    ['dota, recompute', { ...tiny, method: 'dota', resident: false, recompute: true }],
    ['lora', { ...tiny, method: 'lora', resident: false, recompute: false }],
    ['full', { ...tiny, method: 'full', resident: true, recompute: false }],
  ];
  it.runIf(softwareGpuSupported).each(onGpu)(
    'is of the GPU’s memory alone where that is the device: %s',
    (_name, options) => {
      const output = execFileSync(
        process.execPath,
        [
          'scripts/run-ts.mjs',
          'test/unit/estimate/estimateChild.ts',
          JSON.stringify({ ...options, device: 'webgpu' }),
        ],
        { encoding: 'utf8', env: { ...process.env, ...softwareGpuEnvironment() } },
      );
      const { estimate, resting, devicePeak, trainable } = JSON.parse(output) as {
        estimate: TrainingEstimate;
        resting: number;
        devicePeak: number;
        trainable: number;
      };
      expect(estimate.trainableParameters).toBe(trainable);
      const { weights, residual, adapter: trained, gradients, optimizer } = estimate.bytes;
      const rest = weights + residual + trained + gradients + optimizer;
      // What lies there between steps is exact but for a table of half precision and constants of a few kB.
      expect(Math.abs(resting / rest - 1)).toBeLessThan(0.03);
      // The device counts what passes between graphs: at least what is kept for the backward pass, and not what
      // the runtime takes inside of a graph, which is `workspace` and `logits`.
      expect(devicePeak).toBeGreaterThan(rest + estimate.bytes.activations);
      expect(devicePeak).toBeLessThan(estimate.totalBytes);
      // Measured: at most 2, and 2.5 with recompute, which has a block's values inside of graphs; the process
      // would make it 40.
      expect(estimate.totalBytes / devicePeak).toBeLessThan(3);
    },
  );

  it('keeps weights in the file’s type where fp32 would not fit', () => {
    const { bytes, baseParameters } = estimateTraining({ ...shape, config: billion });
    expect(baseParameters).toBe(1_235_814_400);
    expect(bytes.weights).toBe(2 * baseParameters);
    const quantized = estimateTraining({ ...shape, config: billion, quantizedBits: 4.127 });
    expect(quantized.bytes.weights).toBeLessThan(0.5 * bytes.weights);
  });

  it('pays for an explicit residual only where weights are not resident', () => {
    const explicit = { ...shape, adapter: { ...adapter, residual: 'explicit' as const } };
    expect(estimateTraining(explicit).bytes.residual).toBe(0);
    const large = estimateTraining({ ...explicit, config: billion });
    // All seven matrices of 16 layers in fp32.
    expect(large.bytes.residual).toBe(4 * 973_078_528);
  });

  it('never counts the logits of all tokens', () => {
    const tokens = 8 * 512;
    expect(4 * largestLogits(billion, tokens, tokens, false)).toBeLessThanOrEqual(2 ** 26);
    expect(4 * largestLogits(billion, tokens, tokens, true)).toBeLessThanOrEqual(2 ** 26);
  });
});

describe('the estimate of operations', () => {
  it('counts 6 a parameter and token of full training, and attention', () => {
    const { config } = shape;
    const { flopsPerStep, baseParameters } = estimateTraining({ ...shape, method: 'full' });
    const tokens = 256;
    // Norms are counted as parameters but not as products; a tied embedding is one product.
    const attention = 12 * config.numLayers * tokens * 128 * config.hiddenSize;
    expect(flopsPerStep / (6 * baseParameters * tokens + attention)).toBeCloseTo(1, 2);
  });

  it('is proportional to accumulation and grows by a forward pass with recompute', () => {
    const once = estimateTraining(shape).flopsPerStep;
    expect(estimateTraining({ ...shape, accumulation: 4 }).flopsPerStep).toBe(4 * once);
    expect(estimateTraining({ ...shape, recompute: true }).flopsPerStep / once).toBeGreaterThan(
      1.2,
    );
  });
});
