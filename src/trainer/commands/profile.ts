/** `dota profile`: where the time and the memory of a training step go. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { prepareDataset } from '../../data/prepare';
import { attentionSize } from '../../graph/decoder/block';
import type { BuiltGraph } from '../../graph/graph';
import { attentionCut } from '../../graph/layers/attentionCut';
import type { StepProfile } from '../../protocol/stepProfile';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import type { Batch, Engine } from '../engine';
import { scoresBytes } from '../engine/batchContext';
import { enableGarbageCollection } from '../garbageCollection';
import { type Device, openDevice } from '../ort/device';
import type { DeviceOptions } from '../ort/sessionOptions';
import { CountingDevice } from '../profile/countingDevice';
import { prepareProducts } from '../profile/gemmRate';
import { readOrtProfiles } from '../profile/ortProfile';
import { productFlops } from '../profile/productGraph';
import { peakRssMb } from '../peakMemory';
import { profileLines } from '../profile/profileLines';
import { chooseDevice, cpu } from '../training/chooseDevice';
import { estimateRun } from '../training/estimateRun';
import { deviceThatFits } from '../training/runDevice';
import { gpuStates } from '../training/gpuMemory';
import { buildEngine, openModel } from '../training/prepareModel';
import { trainingBatches } from '../training/stepBatches';
import { type DeviceChoice, deviceOverrides, positiveOption } from './options';
import { printJson, printLine } from './output';
import { loadRunConfig } from './runConfigFile';
import { stopOnSignal } from './stopSignal';
import { takeStep } from '../profile/takeStep';

export interface ProfileOptions extends DeviceChoice {
  set: string[];
  steps: string;
  json?: boolean;
}

/** @throws DotaError of the configuration, the model, the data and the device */
export async function runProfile(file: string, options: ProfileOptions): Promise<void> {
  const steps = positiveOption('--steps', options.steps) ?? 1;
  // Where a training step would run.
  await ensureComputeEnvironment();
  enableGarbageCollection();
  const overrides = [...deviceOverrides(options), ...options.set];
  const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-profile-'));
  const stopped = stopOnSignal();
  try {
    const profile = await measure(file, overrides, steps, { folder, stopped });
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
  { folder, stopped }: { folder: string; stopped: () => boolean },
): Promise<StepProfile> {
  const { config, directory } = await loadRunConfig(file, overrides);
  const model = await openModel(config, directory);
  try {
    const data = await prepareDataset(config.data, model.tokenizer, {
      directory,
      seed: config.training.seed,
    });
    const whole = trainingBatches(data.train, config, model.tokenizer);
    // As a run would compute it on this machine, and where.
    const { device, estimate } = await deviceThatFits(
      config,
      await chooseDevice(config),
      ({ kind, bufferBytes }) => estimateRun(config, model, whole, { device: kind, bufferBytes }),
      cpu,
    );
    const { fit } = estimate;
    const batches = trainingBatches(data.train, config, model.tokenizer, fit.batch);
    const micro = batches.step(1);
    const { batchSize: batch, sequenceLength: sequence } = micro[0] as Batch;
    const size = attentionSize(model.config, { batch, sequence });
    const cut = attentionCut(size, scoresBytes(device));
    const tokens = micro.reduce((sum, { tokens: count }) => sum + count, 0);
    // Twice: the profiler slows small operations down, so the step's own time is taken without it.
    const open = async (extra: Pick<DeviceOptions, 'profileFolder'>): Promise<Opened> => {
      let opened: { device: CountingDevice; options: DeviceOptions } | undefined;
      const { engine } = await buildEngine(config, model, {
        device,
        recompute: fit.recompute,
        shouldStop: stopped,
        openDevice: (options) => {
          opened = { device: new CountingDevice(openDevice({ ...options, ...extra })), options };
          return opened.device;
        },
      });
      if (!opened) throw new Error('no device was opened');
      return { ...(opened as Omit<Opened, 'engine'>), engine };
    };
    const plain = await open({});
    const timed = await timeSteps(plain, micro, steps);
    const { weights, residual } = fit.estimate.bytes;
    const memoryMb = memoryByKind(plain, weights + residual);
    const processPeakMb = peakRssMb();
    const [gpu] = device.kind === 'webgpu' ? await gpuStates() : [];
    await plain.engine.dispose();
    const gemmMs = await gemmTime(openDevice(plain.options), timed.graphs);
    const profiled = await open({ profileFolder: folder });
    const { ms: profiledStepMs, step } = await timeSteps(profiled, micro, steps);
    await profiled.engine.dispose();
    const spent = await readOrtProfiles(folder, { kind: device.kind, step, steps: steps + 1 });
    const gflop = timed.graphs.reduce((sum, graph) => sum + productFlops(graph), 0) / 1e9;
    return {
      kind: device.kind,
      device: device.name,
      steps,
      tokensPerStep: tokens,
      stepMs: timed.ms,
      tokensPerSecond: (1000 * tokens) / timed.ms,
      gflopPerStep: gflop,
      gemmGflops: (1000 * gflop) / gemmMs,
      gemmShare: gemmMs / timed.ms,
      attention: cut,
      profiledStepMs,
      operators: largestFirst(spent.operators),
      phases: largestFirst(spent.phases),
      memoryMb,
      processPeakMb,
      ...(gpu?.usedMb !== undefined && { gpuInUseMb: gpu.usedMb }),
    };
  } finally {
    await model.close();
  }
}

interface Opened {
  engine: Engine;
  device: CountingDevice;
  options: DeviceOptions;
}

interface MedianStep {
  ms: number;
  /** From 0, the one that compiles and warms up. */
  step: number;
  /** That any step runs, in its order. */
  graphs: BuiltGraph[];
}

async function timeSteps(
  { engine, device }: Opened,
  micro: readonly Batch[],
  steps: number,
): Promise<MedianStep> {
  const times: { ms: number; step: number }[] = [];
  let graphs: BuiltGraph[] = [];
  for (let step = 0; step <= steps; step++) {
    device.take();
    const started = performance.now();
    await takeStep(engine, micro, step + 1);
    if (step > 0) times.push({ ms: performance.now() - started, step });
    graphs = device.take();
  }
  times.sort((a, b) => a.ms - b.ms);
  const median = times[Math.floor((times.length - 1) / 2)] as (typeof times)[number];
  return { ...median, graphs };
}

/** Milliseconds that the step's matrix products take on their own: of either run the best of three. */
async function gemmTime(device: Device, graphs: readonly BuiltGraph[]): Promise<number> {
  const { products, without } = await prepareProducts(device, graphs);
  const best = { products: Infinity, without: Infinity };
  for (let round = 0; round < 3; round++) {
    best.products = Math.min(best.products, await milliseconds(products));
    best.without = Math.min(best.without, await milliseconds(without));
  }
  await device.dispose();
  return best.products - best.without;
}

async function milliseconds(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

function memoryByKind(
  { engine, device }: Opened,
  /** As estimated; on the CPU the weights are ordinary arrays, which nobody counts. */
  weightBytes: number,
): Record<string, number> {
  const trained = 4 * engine.trainable.reduce((sum, { size }) => sum + size, 0);
  const gpu = device.kind === 'webgpu';
  const { bytes, peakBytes } = device.memory();
  const byKind = {
    // On a GPU what lies there at rest is known exactly.
    weights: gpu ? bytes - 2 * trained - engine.optimizerBytes : weightBytes,
    parameters: trained,
    gradients: trained,
    optimizer: engine.optimizerBytes,
    activations: gpu ? peakBytes - bytes : device.takeSavedBytes(),
  };
  return Object.fromEntries(Object.entries(byKind).map(([kind, size]) => [kind, size / 2 ** 20]));
}

function largestFirst(sums: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...sums].sort(([, a], [, b]) => b - a));
}
