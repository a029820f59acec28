/** One run in the worker thread: from the run folder's configuration to its last checkpoint. */
import path from 'node:path';
import { runConfigSchema, type RunConfig } from '../../config/runConfig';
import { hashFile, prepareDataset } from '../../data/prepare';
import { TokenCache } from '../../data/tokenCache';
import { TensorCache } from '../../models/tensorCache';
import type { Channel } from '../../protocol/channel';
import { DotaError } from '../../protocol/errors';
import type { RunFingerprint } from '../../protocol/runFiles';
import type { TrainerPhase, TrainerProgress } from '../../protocol/trainerMessages';
import {
  checkpointPath,
  checkSpace,
  rotateCheckpoints,
  saveCheckpoint,
} from '../../runs/checkpoints';
import { readManifest } from '../../runs/manifest';
import { runFolder, type RunFolder } from '../../runs/runFolder';
import { protocolBeams } from '../../evaluation/tasks';
import type { Engine } from '../engine';
import { taskOfFile } from '../evaluation/sets';
import { openDevice, type Device } from '../ort/device';
import { askDevices, chooseDevice, cpu } from './chooseDevice';
import { deviceFacts } from './deviceFacts';
import { initialLoopState, trainLoop, type LoopHooks, type LoopState } from '../loop';
import {
  checkpointBytes,
  loadCheckpoint,
  restoreEngine,
  writeCheckpointFiles,
  type LoadedCheckpoint,
} from './checkpointFiles';
import type { ControlFlags } from './controlFlags';
import { estimateRun, type RunEstimate } from './estimateRun';
import { cacheFolder } from './cacheFolder';
import { deviceThatFits } from './runDevice';
import { InitialCores } from './initialCores';
import {
  buildEngine,
  endTokens,
  openModel,
  type EngineParts,
  type ModelParts,
} from './prepareModel';
import { generateGreedy } from '../generate';
import { scoreFile } from './scoreFile';
import { evaluationBatches, firstBatches, totalSteps, trainingBatches } from './stepBatches';
import type { EndReason, Silence, WorkerData, WorkerMessages } from './workerMessages';

type MainThread = Channel<WorkerMessages, Silence>;

/** @throws DotaError whatever stops the run; `run.stopped` before anything was trained */
export async function trainRun(
  start: WorkerData,
  flags: ControlFlags,
  main: MainThread,
): Promise<EndReason> {
  const folder = runFolder(start.runFolder);
  const manifest = await readManifest(folder);
  const config = runConfigSchema.parse(manifest.config);
  const report = new ProgressReport(main);

  report.phase('loading');
  const model = await openModel(config, manifest.configDirectory);
  try {
    return await trainModel(folder, config, manifest.configDirectory, model, start, {
      flags,
      main,
      report,
    });
  } finally {
    await model.close();
  }
}

interface Surroundings {
  flags: ControlFlags;
  main: MainThread;
  report: ProgressReport;
}

async function trainModel(
  folder: RunFolder,
  config: RunConfig,
  directory: string,
  model: ModelParts,
  start: WorkerData,
  { flags, main, report }: Surroundings,
): Promise<EndReason> {
  const { training } = config;
  const checkpoint =
    start.checkpoint === undefined ? undefined : await loadCheckpoint(start.checkpoint);
  const cache = new TensorCache(cacheFolder(directory));
  const data = await prepareDataset(config.data, model.tokenizer, {
    directory,
    seed: training.seed,
    cache: new TokenCache({ cache, tokenizerHash: model.tokenizerHash }),
    onProgress: ({ fraction }) => {
      refuseWhenStopped(flags);
      report.phase('loading', { done: Math.floor(100 * fraction), total: 100 });
    },
  });
  const fingerprint: RunFingerprint = {
    baseWeights: model.weightsHash,
    tokenizer: model.tokenizerHash,
    trainData: data.trainHash,
    validationData: data.validationHash,
    dataPolicy: data.dataPolicy,
    ...(config.data.test === undefined
      ? {}
      : { evaluationData: await hashFile(path.resolve(directory, config.data.test)) }),
  };
  if (checkpoint !== undefined) checkSameInputs(checkpoint, fingerprint, folder);
  // Beside the GPU the processor is asked as well, which takes a moment of the same phase.
  const chosen = await chooseDevice(
    config,
    askDevices(() => {
      report.phase('probing');
    }),
  );
  report.phase('loading');
  const { device, estimate } = await deviceThatFits(
    config,
    chosen,
    ({ kind, bufferBytes }) =>
      estimateRun(config, model, trainingBatches(data.train, config, model.tokenizer), {
        device: kind,
        bufferBytes,
        microBatch: start.microBatch,
      }),
    cpu,
  );
  main.notify('facts', { device: deviceFacts(device, config) });
  const { batch: microBatch, recompute } = estimate.fit;
  const batches = trainingBatches(data.train, config, model.tokenizer, microBatch);
  const validation = evaluationBatches(data.validation, config, model.tokenizer, microBatch);
  const steps = totalSteps(training, batches.stepsPerEpoch);
  report.totalSteps = steps;
  const fewer = microBatch < training.per_device_train_batch_size;
  main.notify('facts', {
    estimate: estimate.manifest,
    recompute,
    ...(fewer && { microBatch }),
  });
  main.notify('log', { level: 'info', text: estimateText(estimate) });

  report.phase('decomposing');
  let opened: Device | undefined;
  const parts = await buildEngine(config, model, {
    cache,
    device,
    recompute,
    openDevice: (options) => (opened = openDevice(options)),
    shouldStop: () => flags.stopped,
    onModule: (done, total) => {
      refuseWhenStopped(flags);
      report.phase('decomposing', { done, total });
    },
    ...(checkpoint === undefined ? {} : { initialCores: checkpoint.initialCores }),
    firstBatches: () => firstBatches(batches, config.adapter.init_gradient_batches),
  });
  const { engine, facts } = parts;
  main.notify('facts', { ...facts, fingerprint });
  if (facts.quantization !== undefined) {
    const { relativeError, plainRelativeError, modules } = facts.quantization;
    const text =
      `${modules} matrices in NF4: error at step 0 ${relativeError.toFixed(4)} of the weights’ norm; ` +
      `NF4 of the weights themselves: ${plainRelativeError.toFixed(4)}.`;
    main.notify('log', { level: 'info', text });
  }
  let failed = true;
  try {
    await checkSpace(
      folder.path,
      checkpointBytes(engine, parts.plan) * (training.save_total_limit + 1),
    );
    const initial = await InitialCores.keep(folder.path, parts.plan);
    if (checkpoint !== undefined) {
      await restoreEngine(checkpoint.folder, engine, { optimizer: true });
      main.notify('row', { kind: 'resume', step: checkpoint.loop.step });
    }
    const loopStart = checkpoint?.loop ?? initialLoopState;
    report.step = loopStart.step;
    report.phase('training');
    const hooks = loopHooks(
      folder,
      config,
      model,
      { ...parts, initial },
      fingerprint,
      steps,
      { flags, main, report },
      () => (opened?.kind === 'webgpu' ? opened.memory().peakBytes / 2 ** 20 : undefined),
    );
    const result = await trainLoop(engine, batches, validation, training, steps, loopStart, hooks);
    if (result.reason !== 'stopped' && config.data.test !== undefined) {
      report.phase('evaluating');
      await scoreTest(folder, config, directory, model, engine, result.state, {
        flags,
        main,
        report,
      });
    }
    report.phase('ended');
    failed = false;
    return result.reason;
  } finally {
    await engine.dispose().catch((error: unknown) => {
      // A device that is lost cannot be tidied up; what ended the run matters more.
      if (!failed) throw error;
    });
  }
}

function estimateText({ manifest, fit, availableBytes }: RunEstimate): string {
  const { peakRssMb, secondsPerStep } = manifest;
  const mb = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MB`;
  const time =
    secondsPerStep === undefined ? '' : `, ${secondsPerStep.toPrecision(2)} s a step on the CPU`;
  const there = availableBytes === undefined ? '' : ` of ${mb(availableBytes)} available`;
  const way =
    `micro-batch ${fit.batch}, activations ` +
    (fit.recompute ? 'recomputed in the backward pass' : 'kept');
  const doubt = fit.fits ? '' : ' That may be more than there is.';
  return `Estimate: ${peakRssMb} MB of memory at the peak${there}${time}; ${way}.${doubt}`;
}

/** @throws DotaError `run.stopped` */
function refuseWhenStopped(flags: ControlFlags): void {
  if (flags.stopped) throw new DotaError('run.stopped', 'Stopped before the first step.');
}

/** Scores the test file with the best weights (or the last) and puts the result into the manifest. */
async function scoreTest(
  folder: RunFolder,
  config: RunConfig,
  directory: string,
  model: ModelParts,
  engine: Engine,
  state: LoopState,
  { flags, main, report }: Surroundings,
): Promise<void> {
  const { best } = state;
  if (config.training.load_best_model_at_end && best !== undefined && best.step > 0) {
    if (best.step !== state.step) {
      await restoreEngine(checkpointPath(folder, best.step), engine, { optimizer: false });
    }
  }
  const file = path.resolve(directory, config.data.test ?? '');
  try {
    const { accuracy, correct, total } = await scoreFile(
      (...question) => generateGreedy(engine, ...question),
      model.tokenizer,
      config.data,
      file,
      {
        eosTokenIds: endTokens(model),
        shouldStop: () => flags.stopped,
        onProgress: (done, count) => {
          report.phase('evaluating', { done, total: count });
        },
      },
    );
    main.notify('facts', { evaluation: { test: { accuracy, correct, total } } });
    const task = taskOfFile(file);
    if (task !== undefined) {
      const text =
        `The test score is that of greedy answers. "dota evaluate" on this run scores ${task.title} ` +
        `by its protocol, with ${protocolBeams} beams.`;
      main.notify('log', { level: 'info', text });
    }
  } catch (error) {
    // The training is complete and saved; "dota evaluate" can score it later.
    if (!(error instanceof DotaError) || error.code !== 'run.stopped') throw error;
    main.notify('log', { level: 'info', text: 'Scoring the test file was stopped.' });
  }
}

/**
 * A resumed run continues only on what it began with: other data under the same name would give a
 * curve that means nothing.
 */
function checkSameInputs(
  checkpoint: LoadedCheckpoint,
  now: RunFingerprint,
  folder: RunFolder,
): void {
  // The test file has no part in the training.
  const names: Record<Exclude<keyof RunFingerprint, 'evaluationData'>, string> = {
    baseWeights: 'model weights',
    tokenizer: 'tokenizer',
    trainData: 'training data',
    validationData: 'validation data',
    dataPolicy: 'data options',
  };
  const changed = (Object.keys(names) as (keyof typeof names)[]).filter(
    (key) => checkpoint.state.fingerprint[key] !== now[key],
  );
  if (changed.length === 0) return;
  const list = changed.map((key) => names[key]).join(', ');
  throw new DotaError('run.state', `Changed since the run began: ${list}.`, {
    where: folder.path,
    next: 'Restore the files, or start a new run.',
  });
}

function loopHooks(
  folder: RunFolder,
  config: RunConfig,
  model: ModelParts,
  parts: EngineParts & { initial: InitialCores },
  fingerprint: RunFingerprint,
  steps: number,
  { flags, main, report }: Surroundings,
  deviceMb: () => number | undefined,
): LoopHooks {
  const environment = {
    device: parts.facts.device.kind,
    deviceName: parts.facts.device.name,
    threads: parts.facts.device.threads,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
  };
  const save = async (loop: LoopState, isBest: boolean): Promise<void> => {
    report.phase('saving');
    // The journal first: a checkpoint must not be newer than the rows that lead to it.
    await main.request('flush', {});
    const contents = {
      config,
      modelFolder: model.folder,
      loop,
      totalSteps: steps,
      fingerprint,
      environment,
    };
    await saveCheckpoint(folder, loop.step, checkpointBytes(parts.engine, parts.plan), (stage) =>
      writeCheckpointFiles(stage, parts.engine, parts.initial, contents),
    );
    await rotateCheckpoints(folder, {
      last: loop.step,
      best: loop.best?.step,
      limit: config.training.save_total_limit,
    });
    main.notify('row', { kind: 'checkpoint', step: loop.step, best: isBest });
    report.phase(flags.stopped ? 'stopping' : 'training');
  };
  return {
    shouldStop: () => flags.stopped,
    whilePaused: () => {
      if (flags.paused) {
        report.phase('paused');
        flags.waitWhilePaused();
        report.phase(flags.stopped ? 'stopping' : 'training');
      }
      return Promise.resolve();
    },
    onStep: ({ step, epoch, ...row }) => {
      const onDevice = deviceMb();
      main.notify('row', {
        kind: 'step',
        step,
        epoch,
        ...row,
        rssMb: rssMb(),
        ...(onDevice !== undefined && { deviceMb: onDevice }),
      });
      main.notify('facts', {
        progress: { step, totalSteps: steps, epoch, tokens: row.tokens },
        last: { trainLoss: row.loss },
      });
      report.trained(step, epoch, row, onDevice);
    },
    onEval: ({ step, loss, tokens, elapsed, isBest }) => {
      main.notify('row', { kind: 'eval', step, loss, tokens, elapsed });
      // JSON has no NaN; the journal shows a gap, and the manifest keeps the last number.
      if (!Number.isFinite(loss)) {
        main.notify('log', {
          level: 'warning',
          text: `Step ${step}: the validation loss is ${loss}.`,
        });
        return;
      }
      main.notify('facts', {
        last: { validationLoss: loss },
        ...(isBest ? { best: { step, validationLoss: loss } } : {}),
      });
    },
    saveCheckpoint: save,
    now: () => performance.now() / 1000,
  };
}

function rssMb(): number {
  return process.memoryUsage.rss() / 2 ** 20;
}

/** Keeps the latest progress and sends it at most ten times a second, changes of phase at once. */
class ProgressReport {
  totalSteps = 0;
  step = 0;
  readonly #main: MainThread;
  #progress: TrainerProgress = { phase: 'starting', step: 0, totalSteps: 0, epoch: 0 };
  #sentAt = 0;
  /** Training time and step at the first step of this process, for the rate. */
  #first: { step: number; elapsed: number } | undefined;

  constructor(main: MainThread) {
    this.#main = main;
  }

  phase(phase: TrainerPhase, counts: { done?: number; total?: number } = {}): void {
    const changed = phase !== this.#progress.phase;
    const next = { ...this.#progress, phase, step: this.step, totalSteps: this.totalSteps };
    // Counts belong to the phase that gave them.
    delete next.done;
    delete next.total;
    this.#progress = { ...next, ...counts };
    this.#send(changed);
  }

  trained(
    step: number,
    epoch: number,
    row: { loss: number; tokensPerSecond: number; elapsed: number },
    deviceMb: number | undefined,
  ): void {
    this.step = step;
    this.#first ??= { step, elapsed: row.elapsed };
    const done = step - this.#first.step;
    const rate = done > 0 ? (row.elapsed - this.#first.elapsed) / done : undefined;
    this.#progress = {
      phase: 'training',
      step,
      totalSteps: this.totalSteps,
      epoch,
      loss: row.loss,
      tokensPerSecond: row.tokensPerSecond,
      rssMb: rssMb(),
      ...(deviceMb !== undefined && { deviceMb }),
      ...(rate === undefined ? {} : { secondsLeft: rate * (this.totalSteps - step) }),
    };
    this.#send(step === this.totalSteps);
  }

  #send(now: boolean): void {
    if (!now && performance.now() - this.#sentAt < 100) return;
    this.#sentAt = performance.now();
    this.#main.notify('progress', this.#progress);
  }
}
