/**
 * The trainer's main thread. It owns lock, journal, manifest, socket and heartbeat, and never
 * computes, so that a stop is acknowledged while the worker is deep in a matrix product.
 */
import path from 'node:path';
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { Channel } from '../../protocol/channel';
import {
  DotaError,
  ExitCode,
  exitCodeOf,
  formatError,
  serializeError,
  type SerializedError,
} from '../../protocol/errors';
import { deviceLine, type RunDevice } from '../../protocol/deviceText';
import { microBatchOf } from '../../protocol/microBatch';
import type { JournalRow, RunManifest, RunState, TrainerCommand } from '../../protocol/runFiles';
import type { TrainerProgress, TrainerStatus } from '../../protocol/trainerMessages';
import { newestGoodCheckpoint, sweepLeftovers, type Checkpoint } from '../../runs/checkpoints';
import { CommandFollower } from '../../runs/commandFile';
import { ControlServer, newSocketPath } from '../../runs/controlServer';
import { heartbeatMs } from '../../runs/liveness';
import { RunLock } from '../../runs/lock';
import { readManifest } from '../../runs/manifest';
import { randomHex } from '../../runs/ownerRecord';
import type { RunFolder } from '../../runs/runFolder';
import { ControlFlags } from '../training/controlFlags';
import {
  threadTransport,
  type EndReason,
  type Silence,
  type WorkerData,
  type WorkerMessages,
} from '../training/workerMessages';
import { differenceFrom, rowsAbove, type ExpectedRow } from './resumeCheck';
import { GpuSampler } from './gpuSampler';
import { afterOutOfMemory, automaticMicroBatch } from './outOfMemory';
import { RunRecord } from './runRecord';

const commandFileMs = 500;
const journalNoticeMs = 100;

export interface TrainerOptions {
  resume: boolean;
  microBatch?: number | undefined;
}

export interface TrainerListeners {
  onRow?: (row: JournalRow) => void;
  onProgress?: (progress: TrainerProgress) => void;
  onState?: (state: RunState) => void;
  /** The device is known; called once for each that a run is on. */
  onDevice?: (device: RunDevice) => void;
  onLog?: (text: string) => void;
}

export interface TrainerOutcome {
  state: RunState;
  reason: EndReason | 'failed';
  manifest: RunManifest;
  error: SerializedError | undefined;
  exitCode: ExitCode;
}

export class TrainerChild {
  readonly #folder: RunFolder;
  readonly #listeners: TrainerListeners;
  readonly #flags = new ControlFlags();
  #record: RunRecord | undefined;
  #server: ControlServer | undefined;
  /** The device as it was told last. */
  #told = '';
  #progress: TrainerProgress = { phase: 'starting', step: 0, totalSteps: 0, epoch: 0 };
  #expected = new Map<number, ExpectedRow>();
  #journalNotice: NodeJS.Timeout | undefined;
  /** What appending a row met; the next flush reports it to the worker. */
  #journalError: unknown;
  #resourcesError: SerializedError | undefined;
  readonly #gpu = new GpuSampler();

  constructor(folder: RunFolder, listeners: TrainerListeners = {}) {
    this.#folder = folder;
    this.#listeners = listeners;
  }

  /** Carries a command out; the worker notices at its next block. */
  command(command: TrainerCommand): void {
    this.#record?.log(`asked to ${command}`);
    switch (command) {
      case 'stop':
        this.#flags.requestStop();
        return;
      case 'pause':
        this.#flags.requestPause();
        return;
      case 'resume':
        this.#flags.requestResume();
        return;
    }
  }

  /**
   * Runs to the end, a stop or a failure; the outcome says which.
   * @param options.microBatch sequences at once from now on
   * @throws DotaError before the run is touched: `run.locked`, `run.state`, `run.corrupt`, `usage`
   */
  async run(options: TrainerOptions): Promise<TrainerOutcome> {
    const nonce = randomHex(32);
    const wanted = await newSocketPath();
    this.#server = await ControlServer.listen(wanted, nonce, {
      status: () => this.#status(),
      stop: () => {
        this.command('stop');
      },
      pause: () => {
        this.command('pause');
      },
      resume: () => {
        this.command('resume');
      },
    });
    try {
      const socket = this.#server === undefined ? '' : wanted;
      const lock = await RunLock.acquire(this.#folder, socket, nonce);
      try {
        return await this.#runLocked(lock, options);
      } finally {
        await lock.release();
      }
    } finally {
      await this.#server?.close();
    }
  }

  async #runLocked(lock: RunLock, { resume, microBatch }: TrainerOptions): Promise<TrainerOutcome> {
    const found = await readManifest(this.#folder);
    checkStartable(found, resume, this.#folder);
    const manifest = microBatch === undefined ? found : withMicroBatch(found, microBatch);
    await sweepLeftovers(this.#folder);
    const record = new RunRecord(this.#folder, manifest, {
      tensorboard: wantsTensorBoard(manifest),
    });
    this.#record = record;
    const began = performance.now();
    let outcome: { reason: EndReason } | { error: SerializedError };
    const stopHeart = await this.#startHeart(lock);
    try {
      await record.enter('running');
      this.#announce('running');
      outcome = await this.#computeFrom(resume);
      for (;;) {
        const smaller =
          'error' in outcome ? automaticMicroBatch(record.manifest, outcome.error) : 0;
        if (!smaller) break;
        this.#warn(
          `Memory ran out; going on from the last checkpoint with micro-batch ${smaller}.`,
        );
        record.update({ microBatch: smaller });
        outcome = await this.#computeFrom(true);
      }
    } catch (error) {
      outcome = { error: serializeError(error) };
    } finally {
      stopHeart();
      this.#gpu.stop();
    }
    const result = this.#outcomeOf(outcome);
    record.timing = timingOf(record.manifest, (performance.now() - began) / 1000);
    try {
      await record.enter(result.state, result.error);
    } catch (error) {
      // A full disk: the next look at the folder finds a run that nobody owns, and offers to resume.
      this.#log(`The final state could not be written: ${formatError(serializeError(error))}`);
    }
    this.#announce(result.state, result.error);
    await record.close().catch(() => undefined);
    return { ...result, manifest: record.manifest };
  }

  /** Lets a worker compute from the newest good checkpoint on, until it ends. */
  async #computeFrom(resume: boolean): Promise<{ reason: EndReason } | { error: SerializedError }> {
    const { checkpoint, passedOver } = await newestGoodCheckpoint(this.#folder);
    if (checkpoint !== undefined) {
      this.#expected = await rowsAbove(this.#folder.journal, checkpoint.step);
    }
    for (const error of passedOver) this.#warn(formatError(error.toJSON()));
    // Without a checkpoint a resumed run begins again, and its old rows are void.
    if (checkpoint === undefined && resume) this.#append({ kind: 'resume', step: 0 });
    return this.#runWorker(checkpoint);
  }

  #outcomeOf(
    outcome: { reason: EndReason } | { error: SerializedError },
  ): Omit<TrainerOutcome, 'manifest'> {
    if ('reason' in outcome) {
      const stopped = outcome.reason === 'stopped';
      return {
        state: stopped ? 'stopped' : 'finished',
        reason: outcome.reason,
        error: undefined,
        exitCode: stopped ? ExitCode.resumable : ExitCode.done,
      };
    }
    const error = this.#record
      ? afterOutOfMemory(outcome.error, this.#record.manifest, this.#folder.path)
      : outcome.error;
    const exitCode = exitCodeOf(error.code);
    if (error.code === 'run.stopped') {
      return { state: 'stopped', reason: 'stopped', error: undefined, exitCode };
    }
    return { state: stateAfter(error), reason: 'failed', error, exitCode };
  }

  #runWorker(
    checkpoint: Checkpoint | undefined,
  ): Promise<{ reason: EndReason } | { error: SerializedError }> {
    const data: WorkerData = {
      runFolder: this.#folder.path,
      checkpoint: checkpoint?.path,
      control: this.#flags.buffer,
      microBatch: this.#record?.manifest.microBatch,
    };
    this.#resourcesError = undefined;
    // The worker decides which of the GPU's drivers this process may load, which they read from its environment.
    const worker = new Worker(path.join(__dirname, 'worker.cjs'), {
      workerData: data,
      env: SHARE_ENV,
    });
    return new Promise((resolve) => {
      let states: Promise<void> = Promise.resolve();
      const end = (outcome: { reason: EndReason } | { error: SerializedError }): void => {
        void states.then(() => {
          resolve(outcome);
        });
      };
      const channel = new Channel<Silence, WorkerMessages>(threadTransport(worker), {
        requests: {
          flush: () => {
            this.#flush();
            return null;
          },
        },
        events: {
          row: (row) => {
            this.#append(row);
          },
          facts: (facts) => {
            this.#record?.update(facts);
            if (facts.device !== undefined) this.#tellDevice(facts.device);
          },
          progress: (said) => {
            const progress = this.#withDeviceMemory(said);
            this.#progress = progress;
            this.#listeners.onProgress?.(progress);
            this.#server?.progress(progress);
            states = states.then(() => this.#followPause(progress));
          },
          log: ({ level, text }) => {
            if (level === 'warning') this.#warn(text);
            else this.#log(text);
          },
          ended: ({ reason }) => {
            end({ reason });
          },
          failed: ({ error }) => {
            end({ error });
          },
        },
      });
      worker.on('error', (error) => {
        this.#log(error.stack ?? error.message);
        const outOfMemory = 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY';
        this.#resourcesError = outOfMemory
          ? new DotaError('device.outOfMemory', 'The trainer ran out of memory.').toJSON()
          : serializeError(error);
      });
      worker.on('exit', () => {
        channel.dispose();
        // Too late to matter when the worker has reported its end.
        end({
          error: this.#resourcesError ?? {
            code: 'internal',
            message: 'The worker ended without a result.',
            next: 'This is a defect. Please report it with the log.',
          },
        });
      });
    });
  }

  /** The worker says `paused` when it has paused; only then does the run's state change. */
  async #followPause(progress: TrainerProgress): Promise<void> {
    const record = this.#record;
    if (record === undefined) return;
    const state = progress.phase === 'paused' ? 'paused' : 'running';
    if (record.state === state) return;
    await record.enter(state).catch((error: unknown) => {
      this.#log(String(error));
    });
    this.#announce(state);
  }

  #flush(): void {
    // Thrown as it is, so that the worker ends with what the disk said.
    if (this.#journalError !== undefined) throw this.#journalError as Error;
    this.#record?.sync();
  }

  #append(row: Parameters<RunRecord['append']>[0]): void {
    if (this.#record === undefined || this.#journalError !== undefined) return;
    try {
      const measured = row.kind === 'step' ? this.#withDeviceMemory(row) : row;
      const written = this.#record.append(measured);
      this.#listeners.onRow?.(written);
      if (row.kind === 'step') this.#compare(row);
    } catch (error) {
      this.#journalError = error;
      this.#log(`A row could not be written: ${formatError(serializeError(error))}`);
      this.#flags.requestStop();
    }
    this.#journalNotice ??= setTimeout(() => {
      this.#journalNotice = undefined;
      this.#server?.journal(this.#record?.journalBytes ?? 0);
    }, journalNoticeMs);
  }

  #tellDevice(device: RunDevice): void {
    if (device.kind === 'webgpu') this.#gpu.start();
    const text = deviceLine(device);
    if (text === this.#told) return;
    this.#told = text;
    this.#log(`Device: ${text}`);
    this.#listeners.onDevice?.(device);
  }

  /** What the driver counts is all that is in use, the runtime's own as well; the worker knows its tensors. */
  #withDeviceMemory<T extends { deviceMb?: number }>(measured: T): T {
    const { usedMb } = this.#gpu;
    return measured.deviceMb === undefined || usedMb === undefined
      ? measured
      : { ...measured, deviceMb: usedMb };
  }

  /** One warning is enough: after the first difference all steps differ. */
  #compare(row: Extract<Parameters<RunRecord['append']>[0], { kind: 'step' }>): void {
    const difference = differenceFrom(this.#expected.get(row.step), row);
    if (difference === undefined) return;
    this.#expected.clear();
    this.#warn(difference);
  }

  #warn(text: string): void {
    this.#log(text);
    this.#append({ kind: 'message', level: 'warning', text });
  }

  #log(text: string): void {
    this.#record?.log(text);
    this.#listeners.onLog?.(text);
  }

  #announce(state: RunState, error?: SerializedError): void {
    this.#listeners.onState?.(state);
    this.#server?.journal(this.#record?.journalBytes ?? 0);
    this.#server?.state(state, error);
  }

  /** Looks after lock and command file until the returned function is called. */
  async #startHeart(lock: RunLock): Promise<() => void> {
    const commands = await CommandFollower.start(this.#folder);
    const beat = setInterval(() => {
      void lock.beat();
    }, heartbeatMs);
    const poll = setInterval(() => {
      void commands.next().then((command) => {
        if (command !== undefined) this.command(command);
      });
    }, commandFileMs);
    return () => {
      clearInterval(beat);
      clearInterval(poll);
      clearTimeout(this.#journalNotice);
    };
  }

  #status(): TrainerStatus {
    return {
      runId: this.#folder.id,
      pid: process.pid,
      state: this.#record?.state ?? 'created',
      progress: this.#progress,
      journalBytes: this.#record?.journalBytes ?? 0,
    };
  }
}

function withMicroBatch(manifest: RunManifest, microBatch: number): RunManifest {
  const size = microBatchOf({ config: manifest.config }) ?? 1;
  if (microBatch <= size) return { ...manifest, microBatch };
  throw new DotaError('usage', `The run's batches have ${size} sequences, not ${microBatch}.`, {
    next: `Give --micro-batch a number from 1 to ${size}.`,
  });
}

/** The state that an error leaves a run in: all but a failed one are offered to be resumed. */
function stateAfter({ code }: SerializedError): RunState {
  // Nobody asked for it, and nothing is wrong with the run: as if the process had been killed.
  if (code === 'device.lost') return 'crashed';
  return exitCodeOf(code) === ExitCode.resumable ? 'stopped' : 'failed';
}

function checkStartable(manifest: RunManifest, resume: boolean, folder: RunFolder): void {
  const refuse = (message: string, next: string): DotaError =>
    new DotaError('run.state', message, { where: folder.path, next });
  if (manifest.state === 'finished') {
    throw refuse('The run is finished.', 'Start a new run from its configuration to go on.');
  }
  if (!resume && manifest.state !== 'created') {
    throw refuse(`The run is ${manifest.state}.`, 'Use --resume to continue it.');
  }
}

function wantsTensorBoard(manifest: RunManifest): boolean {
  const { config } = manifest;
  const training = (config as { training?: { report_to?: unknown } } | null)?.training;
  return Array.isArray(training?.report_to) && training.report_to.includes('tensorboard');
}

function timingOf(manifest: RunManifest, seconds: number): NonNullable<RunManifest['timing']> {
  const total = (manifest.timing?.seconds ?? 0) + seconds;
  const tokens = manifest.progress?.tokens ?? 0;
  return { seconds: total, tokensPerSecond: total > 0 ? tokens / total : 0 };
}
