/**
 * What stands in a run folder, as types. The folder is the only truth about a run; the editor, the
 * command line and a resumed trainer all derive what they show from these files.
 *
 *   .dota/runs/<id>/
 *     run.json        RunManifest, replaced atomically
 *     metrics.jsonl   one JournalRow a line, append-only
 *     log.txt         plain text
 *     lock.json       LockFile, present while a trainer owns the folder
 *     command.json    CommandFile, the fallback where sockets don't work
 *     checkpoints/step-N/  adapter_model.safetensors adapter_config.json optimizer.safetensors
 *                          trainer_state.json manifest.json (written last)
 *     notes.md, tensorboard/ (optional)
 */
import type { SerializedError } from './errors';

export const runStates = [
  'created',
  'running',
  'paused',
  'stopped',
  'finished',
  'failed',
  'crashed',
] as const;
export type RunState = (typeof runStates)[number];

/** Facts that decide whether two runs may be compared; all hashes are SHA-256 in hex. */
export interface RunFingerprint {
  baseWeights: string;
  tokenizer: string;
  trainData: string;
  validationData: string;
  /** Loss mask, template and truncation in one string, e.g. `completion|llm-adapters|128`. */
  dataPolicy: string;
  /** The file that the accuracy is of; absent without one. */
  evaluationData?: string;
}

export interface RunManifest {
  formatVersion: 1;
  id: string;
  /** The name shown; the folder's name never changes. */
  name: string;
  state: RunState;
  createdAt: string;
  startedAt?: string;
  endedAt?: string;
  /** The configuration with every default filled in (see src/config/runConfig.ts). */
  config: unknown;
  /** Absolute folder that relative paths of the configuration refer to. */
  configDirectory: string;
  fingerprint?: RunFingerprint;
  versions: { dota: string; node: string; onnxruntime: string; platform: string };
  /** `reason`: why it is not the GPU, as a sentence; absent where it is, or nobody asked for one. */
  device?: { kind: 'cpu' | 'webgpu'; name: string; threads: number; reason?: string };
  model?: { architecture: string; parameters: number };
  trainable?: { parameters: number; fraction: number };
  /**
   * With 4-bit weights: ||W - W_step0||_F / ||W||_F over the quantised matrices, and the same for
   * NF4 applied to W itself.
   */
  quantization?: { relativeError: number; plainRelativeError: number; modules: number };
  progress?: { step: number; totalSteps: number; epoch: number; tokens: number };
  best?: { step: number; validationLoss: number };
  last?: { trainLoss?: number; validationLoss?: number };
  evaluation?: Record<string, { accuracy: number; correct: number; total: number }>;
  timing?: { seconds: number; tokensPerSecond: number };
  peakRssMb?: number;
  /** Largest memory in use on the GPU, where the run is on one; of `deviceMb` of the journal's rows. */
  peakDeviceMb?: number;
  /**
   * Sequences computed at once, where these are fewer than `per_device_train_batch_size`: a batch is
   * then cut into parts whose gradients are accumulated, and stays the same batch.
   */
  microBatch?: number;
  /** Whether activations are computed again in the backward pass, as chosen or asked for. */
  recompute?: boolean;
  /**
   * What was expected before the first step, beside the steps' times and `peakRssMb`; on a GPU the memory is
   * the GPU's, beside `peakDeviceMb`.
   */
  estimate?: { peakRssMb: number; secondsPerStep?: number };
  error?: SerializedError;
}

/**
 * A row of metrics.jsonl. `seq` counts all rows of the file from 0 and never repeats. After a
 * resume, a `resume` row supersedes every earlier `step`/`eval` row with a step above its own.
 */
export type JournalRow =
  | {
      kind: 'step';
      seq: number;
      /** Optimizer steps completed, from 1. */
      step: number;
      epoch: number;
      /** Mean negative log-likelihood in nats over the unmasked tokens of the accumulated batch. */
      loss: number;
      learningRate: number;
      /** Global L2 norm before clipping. */
      gradNorm: number;
      /** All tokens (masked or not, padding excluded) seen since the start. */
      tokens: number;
      tokensPerSecond: number;
      rssMb: number;
      /** Seconds of training since the start, pauses and downtime excluded. */
      elapsed: number;
      /** In use on the GPU: what its driver says, else what the trainer holds there at most. */
      deviceMb?: number;
    }
  | { kind: 'eval'; seq: number; step: number; loss: number; tokens: number; elapsed: number }
  | { kind: 'checkpoint'; seq: number; step: number; best: boolean }
  | { kind: 'resume'; seq: number; step: number }
  | { kind: 'state'; seq: number; state: RunState; at: string; error?: SerializedError }
  | { kind: 'message'; seq: number; level: 'info' | 'warning'; text: string };

/** `lock.json`. Its contents are untrusted: nothing is signalled before the nonce handshake. */
export interface LockFile {
  pid: number;
  /** Process start time as the platform reports it, to tell a reused pid. */
  processStart: string;
  /** Identifies the nonce kept outside the workspace; not the nonce itself. */
  nonceId: string;
  /** Socket path in the per-user folder, or '' where only the command file works. */
  socket: string;
  startedAt: string;
}

export type TrainerCommand = 'stop' | 'pause' | 'resume';

export interface CommandFile {
  command: TrainerCommand;
  /** Increases with each command, so that one is carried out once. */
  serial: number;
}
