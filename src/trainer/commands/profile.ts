/** `dota profile`: where the time and the memory of a training step go. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { prepareDataset } from '../../data/prepare';
import { attentionSize } from '../../graph/decoder/block';
import { type AttentionCut, attentionCut } from '../../graph/layers/attentionCut';
import type { Batch, Engine } from '../engine';
import { scoresBytes } from '../engine/batchContext';
import { type Device, openDevice } from '../ort/device';
import { CountingDevice, flops, prepareProducts, type Product } from '../profile/gemmRate';
import { readOrtProfiles } from '../profile/ortProfile';
import { chooseDevice, type ChosenDevice } from '../training/chooseDevice';
import { estimateRun } from '../training/estimateRun';
import { gpuStates } from '../training/gpuMemory';
import { buildEngine, openModel } from '../training/prepareModel';
import { trainingBatches } from '../training/stepBatches';
import { type DeviceChoice, deviceOverrides, positiveOption } from './options';
import { printJson, printLine } from './output';
import { loadRunConfig } from './runConfigFile';

export interface ProfileOptions extends DeviceChoice {
  set: string[];
  steps: string;
  json?: boolean;
}

interface Profile {
  device: string;
  steps: number;
  tokensPerStep: number;
  /** Milliseconds a step, measured without the profiler. */
  stepMs: number;
  tokensPerSecond: number;
  gflopPerStep: number;
  /** GFLOP/s of the step's matrix products alone, on this device. */
  gemmGflops: number;
  /** The products' time by the step's. */
  gemmShare: number;
  /** How much of each axis attention computes at once, in the first micro-batch. */
  attention: AttentionCut;
  /** Milliseconds a step, under the profiler. */
  operators: Record<string, number>;
  phases: Record<string, number>;
  memoryMb: Record<string, number>;
}

/** @throws DotaError of the configuration, the model, the data and the device */
export async function runProfile(file: string, options: ProfileOptions): Promise<void> {
  const steps = positiveOption('--steps', options.steps) ?? 1;
  const overrides = [...deviceOverrides(options), ...options.set];
  const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-profile-'));
  try {
    const profile = await measure(file, overrides, steps, folder);
    if (options.json === true) printJson({ ...profile });
    else for (const line of profileLines(profile)) printLine(line);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure(
  file: string,
  overrides: readonly string[],
  steps: number,
  folder: string,
): Promise<Profile> {
  const { config, directory } = await loadRunConfig(file, overrides);
  const model = await openModel(config, directory);
  try {
    const data = await prepareDataset(config.data, model.tokenizer, {
      directory,
      seed: config.training.seed,
    });
    const device = await chooseDevice(config);
    const whole = trainingBatches(data.train, config, model.tokenizer);
    // As a run would compute it on this machine.
    const { fit } = await estimateRun(config, model, whole, {
      device: device.kind,
      bufferBytes: device.bufferBytes,
    });
    const batches = trainingBatches(data.train, config, model.tokenizer, fit.batch);
    const micro = await batches.step(1);
    const { batchSize: batch, sequenceLength: sequence } = micro[0] as Batch;
    const size = attentionSize(model.config, { batch, sequence });
    const cut = attentionCut(size, scoresBytes(device));
    const tokens = micro.reduce((sum, { tokens: count }) => sum + count, 0);
    // Twice: the profiler slows small operations down, so the step's own time is taken without it.
    const way = { device, recompute: fit.recompute };
    const plain = await open(way, (options) => new CountingDevice(openDevice(options)));
    const timed = await timeSteps(plain.engine, plain.device, micro, steps);
    const { weights, residual } = fit.estimate.bytes;
    const memoryMb = await memoryByKind(plain.engine, plain.device, weights + residual);
    const products = await gemmSeconds(plain.device, timed.products);
    await plain.engine.dispose();
    const profiled = await open(
      way,
      (options) => new CountingDevice(openDevice({ ...options, profileFolder: folder })),
    );
    await timeSteps(profiled.engine, profiled.device, micro, steps);
    await profiled.engine.dispose();
    const spent = await readOrtProfiles(folder);
    const gflop = timed.products.reduce((sum, product) => sum + flops(product), 0) / 1e9;
    return {
      device: plain.name,
      steps,
      tokensPerStep: tokens,
      stepMs: timed.seconds * 1000,
      tokensPerSecond: tokens / timed.seconds,
      gflopPerStep: gflop,
      gemmGflops: gflop / products,
      gemmShare: products / timed.seconds,
      attention: cut,
      operators: perStep(spent.operators, steps),
      phases: perStep(spent.phases, steps),
      memoryMb,
    };
  } finally {
    await model.close();
  }

  async function open(
    way: { device: ChosenDevice; recompute: boolean },
    wrap: (options: Parameters<typeof openDevice>[0]) => CountingDevice,
  ) {
    let device: CountingDevice | undefined;
    const { engine, facts } = await buildEngine(config, model, {
      ...way,
      shouldStop: () => false,
      openDevice: (options) => (device = wrap(options)),
    });
    if (!device) throw new Error('no device was opened');
    return { engine, device, name: facts.device.name };
  }
}

async function timeSteps(
  engine: Engine,
  device: CountingDevice,
  micro: readonly Batch[],
  steps: number,
): Promise<{ seconds: number; products: Product[] }> {
  const lossTokens = micro.reduce((sum, batch) => sum + batch.lossTokens, 0);
  const times: number[] = [];
  let products: Product[] = [];
  // The first step compiles and warms up.
  for (let step = 0; step <= steps; step++) {
    device.take();
    const started = performance.now();
    for (const batch of micro) await engine.forwardBackward(batch, 1 / lossTokens);
    await engine.optimizerStep(
      {
        step: step + 1,
        // Nothing is to be learned here; the arithmetic is the same.
        learningRate: 0,
        weightDecay: 0,
        adamBeta1: 0.9,
        adamBeta2: 0.999,
        adamEpsilon: 1e-8,
        maxGradNorm: 1,
      },
      await engine.gradientNorm(),
    );
    if (step > 0) times.push((performance.now() - started) / 1000);
    products = device.take();
  }
  times.sort((a, b) => a - b);
  return { seconds: times[Math.floor(times.length / 2)] as number, products };
}

/** Seconds that the step's matrix products take on their own: the best of three rounds. */
async function gemmSeconds(device: Device, products: readonly Product[]): Promise<number> {
  const run = await prepareProducts(device, products);
  return Math.min(await run(), await run(), await run());
}

async function memoryByKind(
  engine: Engine,
  device: CountingDevice,
  /** As estimated; on the CPU the weights are ordinary arrays, which nobody counts. */
  weightBytes: number,
): Promise<Record<string, number>> {
  const mb = (bytes: number): number => bytes / 2 ** 20;
  const trained = engine.trainable.reduce((sum, { size }) => sum + size, 0);
  const { bytes, peakBytes } = device.memory();
  const [gpu] = device.kind === 'webgpu' ? await gpuStates() : [];
  return {
    // On a GPU what lies there at rest is known exactly.
    weights: mb(device.kind === 'webgpu' ? bytes - 16 * trained : weightBytes),
    parameters: mb(4 * trained),
    gradients: mb(4 * trained),
    optimizer: mb(8 * trained),
    activations: mb(device.kind === 'webgpu' ? peakBytes - bytes : device.takeSavedBytes()),
    process: mb(process.memoryUsage.rss()),
    ...(gpu?.usedMb !== undefined && { gpuInUse: gpu.usedMb }),
  };
}

function perStep(sums: ReadonlyMap<string, number>, steps: number): Record<string, number> {
  return Object.fromEntries(
    [...sums].map(([name, ms]) => [name, ms / steps] as const).sort(([, a], [, b]) => b - a),
  );
}

function profileLines(profile: Profile): string[] {
  const table = (title: string, rows: Record<string, number>, unit: string): string[] => {
    const total = Object.values(rows).reduce((sum, value) => sum + value, 0);
    return [
      `${title}:`,
      ...Object.entries(rows).map(([name, value]) => {
        const share = unit === 'ms' ? `  ${((100 * value) / total).toFixed(1).padStart(5)} %` : '';
        return `  ${name.padEnd(20)} ${value.toFixed(1).padStart(9)} ${unit}${share}`;
      }),
    ];
  };
  const { device, stepMs, tokensPerSecond, tokensPerStep, gflopPerStep, gemmGflops, attention } =
    profile;
  return [
    `${device}: ${stepMs.toFixed(1)} ms a step of ${tokensPerStep} tokens, ${tokensPerSecond.toFixed(0)} tokens/s`,
    `${gflopPerStep.toFixed(2)} GFLOP a step; its matrix products alone run at ${gemmGflops.toFixed(1)} GFLOP/s and take ${(100 * profile.gemmShare).toFixed(1)} % of the step`,
    `Attention at once: ${attention.sequences} sequences, ${attention.keyHeads} key heads, ${attention.queries} queries`,
    ...table('Time by operator', profile.operators, 'ms'),
    ...table('Time by phase', profile.phases, 'ms'),
    ...table('Memory', profile.memoryMb, 'MB'),
  ];
}
