/** `dota train`: starts or resumes a run, here or detached. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { deviceLine, megabytesText, type RunDevice } from '../../protocol/deviceText';
import { type RunConfig, runConfigSchema } from '../../config/runConfig';
import { DotaError, ExitCode, formatError } from '../../protocol/errors';
import { microBatchOf } from '../../protocol/microBatch';
import type { RunManifest } from '../../protocol/runFiles';
import { checkLiveness, lockedError } from '../../runs/liveness';
import { readManifest } from '../../runs/manifest';
import { createRun, findRun } from '../../runs/runStore';
import type { RunFolder } from '../../runs/runFolder';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { TrainerChild, type TrainerOptions, type TrainerOutcome } from '../child/trainerChild';
import { askDevices, decideDevice } from '../training/chooseDevice';
import { ownDeviceOrder } from '../training/deviceOrder';
import { requireRuntime } from '../training/runtimeBinary';
import { startDetached } from './detach';
import { duration, printJson, printLine } from './output';
import { ProgressLine } from './progressLine';
import { loadRunConfig } from './runConfigFile';
import { versions } from './versions';

import { type DeviceChoice, deviceOverrides, positiveOption } from './options';

export interface TrainOptions extends DeviceChoice {
  /** `true`, or the run where no other argument names it. */
  resume?: boolean | string;
  set: string[];
  root: string;
  detach?: boolean;
  /** Sequences computed at once. */
  microBatch?: string;
  /** Say what the run would need, and don't start it. */
  estimate?: boolean;
  quiet?: boolean;
  json?: boolean;
}

/** @returns the exit code; @throws DotaError */
export async function runTrain(
  target: string | undefined,
  options: TrainOptions,
): Promise<ExitCode> {
  const named = typeof options.resume === 'string' ? options.resume : undefined;
  const what = target ?? named;
  if (what === undefined || (target !== undefined && named !== undefined)) {
    throw new DotaError('usage', 'Name one configuration file or one run.', {
      next: '"dota train my.dota.json", or "dota train --resume <run>".',
    });
  }
  if (options.estimate === true) {
    const { runEstimate } = await import('./estimate');
    await runEstimate(what, overrides(options), options.json === true);
    return ExitCode.done;
  }
  // Before there is a run's folder.
  requireRuntime();
  const resume = options.resume !== undefined && options.resume !== false;
  const microBatch = positiveOption('--micro-batch', options.microBatch);
  if (options.detach !== true) await ensureComputeEnvironment();
  const existing = await existingRun(what, resume, options);
  const folder = existing ?? (await newRun(what, options));
  const liveness = await checkLiveness(folder);
  if (liveness.kind === 'alive' || liveness.kind === 'unknown') throw lockedError(folder, liveness);
  if (existing !== undefined) {
    // What else is wrong with a configuration is told when it is read to be trained.
    const parsed = runConfigSchema.safeParse((await readManifest(existing)).config);
    if (parsed.success) await requireDevice(parsed.data, options);
  }
  if (options.detach === true) {
    const pid = await startDetached(folder, { resume, microBatch });
    if (options.json === true) printJson({ run: folder.path, id: folder.id, pid });
    else printLine(`Run ${folder.id} goes on in process ${pid}: ${folder.path}`);
    return ExitCode.done;
  }
  return trainHere(folder, { resume, microBatch }, options);
}

/** `--set` last: what is said in full wins over a shorthand. */
function overrides(options: TrainOptions): string[] {
  return [...deviceOverrides(options), ...options.set];
}

/** The run that is named; undefined where a configuration file is. @throws DotaError `file.missing` */
async function existingRun(
  what: string,
  resume: boolean,
  options: TrainOptions,
): Promise<RunFolder | undefined> {
  const info = await stat(path.resolve(what)).catch(() => undefined);
  if (info?.isDirectory() === true) return findRun(options.root, path.resolve(what));
  return resume ? findRun(options.root, what) : undefined;
}

/** Makes the run of a configuration file. @throws DotaError of the configuration and its device */
async function newRun(file: string, options: TrainOptions): Promise<RunFolder> {
  const { config, directory, fallbackName } = await loadRunConfig(file, overrides(options));
  await requireDevice(config, options);
  const root = path.resolve(directory, config.output_dir);
  return createRun(root, {
    name: config.name ?? fallbackName,
    config,
    configDirectory: directory,
    versions: await versions(),
  });
}

/**
 * Refuses a device that was asked for and cannot be used here, before there is a run that failed by it.
 * @throws DotaError `device.unavailable`
 */
async function requireDevice(config: RunConfig, { quiet }: TrainOptions): Promise<void> {
  switch (config.device) {
    case 'auto':
    case 'cpu':
      // Neither is refused for what a GPU says.
      return;
    case 'webgpu': {
      const say = (): void => {
        if (quiet !== true) process.stderr.write('Asking the GPU …\n');
      };
      await decideDevice(config, askDevices(say), ownDeviceOrder());
    }
  }
}

async function trainHere(
  folder: RunFolder,
  start: TrainerOptions,
  options: TrainOptions,
): Promise<ExitCode> {
  const quiet = options.quiet === true;
  const line = new ProgressLine();
  const show = quiet
    ? {}
    : {
        onProgress: line.progress.bind(line),
        onRow: line.row.bind(line),
        onDevice: (device: RunDevice) => {
          line.line(deviceLine(device));
        },
      };
  const child = new TrainerChild(folder, show);
  const stop = (): void => {
    if (!quiet) line.line('Stopping with a checkpoint …');
    child.command('stop');
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  if (!quiet) line.line(`Run ${folder.id}: ${folder.path}`);
  const outcome = await child.run(start);
  line.end();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, stop);
  if (!quiet) report(folder, outcome, options);
  return outcome.exitCode;
}

function report(folder: RunFolder, outcome: TrainerOutcome, options: TrainOptions): void {
  const { manifest, error } = outcome;
  if (error !== undefined) process.stderr.write(`dota: ${formatError(error)}\n`);
  if (options.json === true) {
    printJson({
      ...trainResult(manifest, folder, outcome),
      ...(error === undefined ? {} : { error }),
    });
    return;
  }
  const { progress, best, last, trainable, timing } = manifest;
  const lines = [
    progress === undefined
      ? `${manifest.state} before the first step`
      : `${manifest.state}: step ${progress.step} of ${progress.totalSteps}`,
    trainable === undefined
      ? ''
      : `trainable parameters ${trainable.parameters} (${(100 * trainable.fraction).toFixed(3)} %)`,
    last?.validationLoss === undefined ? '' : `validation loss ${last.validationLoss.toFixed(4)}`,
    best === undefined ? '' : `best ${best.validationLoss.toFixed(4)} at step ${best.step}`,
    // A run that never stepped has neither speed nor peak to speak of.
    timing === undefined || manifest.peakRssMb === undefined
      ? ''
      : `${duration(timing.seconds)}, ${Math.round(timing.tokensPerSecond)} tokens/s, peak ${megabytesText(manifest.peakRssMb)}`,
    manifest.peakDeviceMb === undefined
      ? ''
      : `peak on the GPU ${megabytesText(manifest.peakDeviceMb)}`,
    measuredBeside(manifest),
    `run ${folder.path}`,
  ];
  printLine(lines.filter((text) => text !== '').join('\n'));
  // Where memory ran out the error names the command that goes on with less.
  if (outcome.exitCode === ExitCode.resumable && error?.code !== 'device.outOfMemory') {
    printLine(`Continue with: dota train --resume ${folder.path}`);
  }
}

/** The estimate beside what was measured, on a GPU of the GPU's memory. */
export function measuredBeside(
  manifest: Pick<
    RunManifest,
    'estimate' | 'device' | 'peakRssMb' | 'peakDeviceMb' | 'timing' | 'progress'
  >,
): string {
  const { estimate, device, timing, progress } = manifest;
  const onGpu = device?.kind === 'webgpu';
  const measured = onGpu ? manifest.peakDeviceMb : manifest.peakRssMb;
  if (estimate === undefined || timing === undefined || measured === undefined) return '';
  const step = timing.seconds / Math.max(1, progress?.step ?? 1);
  const time =
    estimate.secondsPerStep === undefined
      ? ''
      : `, ${estimate.secondsPerStep.toPrecision(2)} s a step (measured ${step.toPrecision(2)}, evaluation included)`;
  const memory = megabytesText(estimate.peakRssMb) + (onGpu ? ' on the GPU' : '');
  return `estimated before: ${memory} (measured ${megabytesText(measured)})${time}`;
}

/** null before one was chosen. */
function deviceOf({ device }: RunManifest): { kind: string; name: string } | null {
  return device === undefined ? null : { kind: device.kind, name: device.name };
}

/** What `dota train --json` prints. */
function trainResult(
  manifest: RunManifest,
  folder: RunFolder,
  outcome: TrainerOutcome,
): Record<string, unknown> {
  return {
    run: folder.path,
    id: folder.id,
    state: outcome.state,
    reason: outcome.reason,
    device: deviceOf(manifest),
    steps: manifest.progress?.step ?? 0,
    total_steps: manifest.progress?.totalSteps ?? null,
    train_loss: manifest.last?.trainLoss ?? null,
    val_loss: manifest.last?.validationLoss ?? null,
    best: manifest.best ?? null,
    trainable_parameters: manifest.trainable?.parameters ?? null,
    trainable_fraction: manifest.trainable?.fraction ?? null,
    tokens_per_second: manifest.timing?.tokensPerSecond ?? null,
    peak_rss_mb: manifest.peakRssMb ?? null,
    peak_device_mb: manifest.peakDeviceMb ?? null,
    micro_batch: microBatchOf(manifest) ?? null,
    recompute: manifest.recompute ?? null,
    estimate: manifest.estimate ?? null,
    seconds: manifest.timing?.seconds ?? null,
  };
}
