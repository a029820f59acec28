/**
 * The engine's interface: everything the training loop knows about arithmetic. The loop prepares
 * batches and numbers; the engine owns weights, trainable parameters, gradients and optimizer state
 * on its device.
 */
import type { BlockwiseMoment } from '../core/blockwise8bit';
import type { Batch } from '../data/batch';

export type { Batch };

/** A trainable tensor's place in the flat parameter vector. */
export interface TrainableTensor {
  /** Checkpoint name, e.g. `model.layers.0.self_attn.q_proj.mpo_cores.0`. */
  name: string;
  shape: readonly number[];
  offset: number;
  size: number;
  /** False for norms and biases, which are excluded from weight decay (HF Trainer's rule). */
  weightDecay: boolean;
  /** Learning-rate factor, 1 unless the adapter sets one per core. */
  learningRateFactor: number;
}

/** `adamw_torch` keeps its moments in fp32, `adamw_8bit` in 8 bits. */
export type Moment = Float32Array | BlockwiseMoment;

/** Flat vectors of equal length, in the order of `Engine.trainable`. */
export interface EngineState {
  parameters: Float32Array;
  firstMoment: Moment;
  secondMoment: Moment;
}

/** What is absent stays as it is. */
export type EngineStatePart = Pick<EngineState, 'parameters'> & Partial<EngineState>;

export interface OptimizerOptions {
  /** From 1; the bias correction's exponent. */
  step: number;
  learningRate: number;
  weightDecay: number;
  adamBeta1: number;
  adamBeta2: number;
  adamEpsilon: number;
  /** 0 switches clipping off. */
  maxGradNorm: number;
}

export interface Engine {
  readonly trainable: readonly TrainableTensor[];
  /** Bytes that the optimizer's moments take. */
  readonly optimizerBytes: number;

  /**
   * Runs forward and backward and adds `gradientScale * d(lossSum)/d(parameters)` to the gradient.
   * The loop passes 1 / (unmasked tokens of the whole accumulated batch).
   * @throws DotaError `run.stopped` when `shouldStop` turned true between two blocks; the gradient
   *   is then unspecified and must be cleared
   */
  forwardBackward(batch: Batch, gradientScale: number): Promise<void>;

  /**
   * The sum of negative log-likelihoods in nats over the labels of all batches that went forward and
   * backward since it was last taken or the gradient cleared. It is what a GPU is waited for, so it comes
   * after the work of a whole step was handed over.
   */
  takeLossSum(): Promise<number>;

  /** Forward only; keeps nothing for a backward. */
  evaluate(batch: Batch): Promise<{ lossSum: number }>;

  /**
   * Next-token logits `[batch, vocab]` at one position a row.
   * @param positions index into the sequence for each row, length `batchSize`
   */
  logits(batch: Batch, positions: Int32Array): Promise<Float32Array>;

  /** Global L2 norm of the accumulated gradient, before clipping. */
  gradientNorm(): Promise<number>;

  /**
   * Clips, applies AdamW (decoupled weight decay) and clears the gradient. The caller has checked
   * that the norm is finite; `gradNorm` is what `gradientNorm()` returned.
   */
  optimizerStep(options: OptimizerOptions, gradNorm: number): Promise<void>;

  /** Forgets the losses with it. */
  zeroGradient(): Promise<void>;

  /** Name of the first trainable tensor whose gradient is not finite, for the error message. */
  findNonFinite(): Promise<string | undefined>;

  readState(): Promise<EngineState>;
  /** @throws DotaError `run.corrupt` for a state of other sizes or of another optimizer */
  writeState(state: EngineStatePart): Promise<void>;
  /** A copy of the accumulated gradient, flat; for tests and gradient-based initialisation. */
  readGradient(): Promise<Float32Array>;

  dispose(): Promise<void>;
}
