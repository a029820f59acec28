/**
 * Trains a small model for three steps, or one of each length, and prints its peak resident memory, the bytes that the engine
 * holds before the first step, and what the estimate said. Argument: a `ChildOptions` as JSON.
 */
import { readFileSync } from 'node:fs';
import { planAdapters } from '../../../src/adapters/plan';
import { runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import type { Core } from '../../../src/core/mpo/types';
import { mpoSpec } from '../../../src/adapters/mpoShape';
import { paddedLength } from '../../../src/data/paddedLength';
import { estimateTraining } from '../../../src/estimate/estimateTraining';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import type { WeightReader } from '../../../src/trainer/engine/frozenWeights';
import { expectedWeights } from '../../../src/models/config';
import { openDevice } from '../../../src/trainer/ort/device';
import { enableGarbageCollection } from '../../../src/trainer/garbageCollection';
import { decoderOf, defaults, randomBatch } from '../../../bench/step/setup';
import { takeStep } from '../../../src/trainer/profile/takeStep';

export interface ChildOptions {
  hidden: number;
  layers: number;
  batch: number;
  sequence: number;
  vocabulary: number;
  method: 'dota' | 'lora' | 'full';
  recompute: boolean;
  resident: boolean;
  device?: 'cpu' | 'webgpu';
  /** NF4 with double quantisation. */
  quantized?: boolean;
  /** Batches of all lengths up to `sequence` instead of three of that one. */
  mixed?: boolean;
}

const options = JSON.parse(process.argv[2] ?? '{}') as ChildOptions;
enableGarbageCollection();
const shape = { ...defaults, ...options };
const config = decoderOf(shape);
const input: RunConfigInput = { data: { train: 'none' }, method: options.method };
const { adapter, method } = runConfigSchema.parse(input);
const lengths =
  options.mixed === true
    ? [...new Set(Array.from({ length: shape.sequence }, (_, i) => paddedLength(i + 1)))]
    : [shape.sequence];
const residentLimit = options.resident ? Infinity : 0;
const estimate = estimateTraining({
  config,
  bytesPerWeight: 2,
  method,
  adapter,
  batch: shape.batch,
  sequence: shape.sequence,
  accumulation: 1,
  recompute: options.recompute,
  device: options.device ?? 'cpu',
  residentLimit,
  lengths: lengths.length,
  quantizedBits: options.quantized === true ? 4.127 : undefined,
});

/** A bf16 checkpoint whose tensors come into being as they are read. */
const expected = expectedWeights(config);
const weights: WeightReader = {
  names: [...expected.keys()],
  read: (name) => {
    const dims = expected.get(name)!;
    const data = new Uint16Array(dims.reduce((product, n) => product * n, 1)).fill(0x3c00);
    return Promise.resolve({ dtype: 'BF16', shape: dims, data });
  },
};

const adapters = await planAdapters({
  method,
  config,
  options: adapter,
  seed: 0,
  gemm: plainGemm,
  weight: () => Promise.reject(new Error('no method needs the weight here')),
  initialCores: (module) => {
    const { shape: factors, bonds } = mpoSpec(module, adapter);
    return factors.rows.map((rows, k): Core => {
      const dims = [bonds[k - 1] ?? 1, rows, factors.cols[k]!, bonds[k] ?? 1] as const;
      return { shape: dims, data: new Float32Array(dims.reduce((a, n) => a * n, 1)).fill(0.01) };
    });
  },
});
/** Of all arrays; those of the runtime's own heap are not among them. */
async function arrayBytes(): Promise<number> {
  let least = Infinity;
  // The collector sweeps arrays on a thread of its own: what is garbage is gone some turns later.
  for (let turn = 0; turn < 10; turn++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 5));
    least = Math.min(least, process.memoryUsage().arrayBuffers);
  }
  return least;
}
const before = await arrayBytes();
const device = openDevice({ kind: options.device ?? 'cpu', threads: 1 });
const engine = await createEngine({
  config,
  weights,
  adapters,
  device,
  threads: 1,
  recompute: options.recompute,
  residentLimit,
  ...(options.quantized === true && { quantization: { doubleQuantization: true } }),
});
/** Of a GPU, before the first step. */
const resting = device.memory().bytes;
const held = (await arrayBytes()) - before;
const steps = lengths.length > 1 ? lengths : Array.from({ length: 3 }, () => shape.sequence);
for (const [i, sequence] of steps.entries()) {
  const batch = randomBatch({ ...shape, sequence });
  await takeStep(engine, [batch], i + 1, { learningRate: 1e-4 });
}
const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
const trainable = engine.trainable.reduce((sum, tensor) => sum + tensor.size, 0);
process.stdout.write(
  `${JSON.stringify({ peak, held, trainable, estimate, resting, devicePeak: device.memory().peakBytes })}\n`,
);
// A GPU's runtime is torn down before the process ends, or it may crash there.
if (device.kind === 'cpu') process.exit(0);
await engine.dispose();
await device.dispose();
