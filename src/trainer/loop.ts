/**
 * The training loop. It reads top to bottom as the algorithm and knows neither files nor threads:
 * arithmetic is the engine's, batches come as pure functions of the step, and everything that must
 * be written goes out through `LoopHooks`.
 */
import { learningRateAt, type Schedule, type SchedulerType } from '../core/schedule';
import { DotaError } from '../protocol/errors';
import type { Batch, Engine } from './engine';

/** The options of `training` in the run configuration that the loop itself uses. */
export interface LoopOptions {
  learning_rate: number;
  lr_scheduler_type: SchedulerType;
  warmup_steps: number;
  weight_decay: number;
  adam_beta1: number;
  adam_beta2: number;
  adam_epsilon: number;
  max_grad_norm: number;
  logging_steps: number;
  eval_steps: number;
  eval_on_start: boolean;
  save_steps: number;
  early_stopping_patience: number;
  early_stopping_threshold: number;
}

/** Training batches; `step(n)` depends on nothing but n and the seed, so that resume is exact. */
export interface TrainingBatches {
  /** Optimizer steps in one pass over the data. */
  stepsPerEpoch: number;
  /** The micro-batches of optimizer step n, from 1. */
  step(n: number): Batch[];
}

/** Everything that a resumed loop needs beside the engine's state. */
export interface LoopState {
  /** Optimizer steps completed. */
  step: number;
  tokens: number;
  /** Seconds of training so far. */
  elapsed: number;
  best: { step: number; validationLoss: number } | undefined;
  lastValidationLoss: number | undefined;
  lastTrainLoss: number | undefined;
  evaluationsWithoutImprovement: number;
  /** Step of the last complete evaluation: one that a stop cut short is made up for. */
  evaluatedStep: number | undefined;
  /** Loss not yet logged, when `logging_steps` is above 1. */
  unlogged: { lossSum: number; lossTokens: number };
}

export const initialLoopState: LoopState = {
  step: 0,
  tokens: 0,
  elapsed: 0,
  best: undefined,
  lastValidationLoss: undefined,
  lastTrainLoss: undefined,
  evaluationsWithoutImprovement: 0,
  evaluatedStep: undefined,
  unlogged: { lossSum: 0, lossTokens: 0 },
};

export interface StepReport {
  step: number;
  epoch: number;
  loss: number;
  learningRate: number;
  gradNorm: number;
  tokens: number;
  tokensPerSecond: number;
  elapsed: number;
}

export interface EvalReport {
  step: number;
  loss: number;
  tokens: number;
  elapsed: number;
  isBest: boolean;
}

export interface LoopHooks {
  /** True once a stop has been asked for; polled here at step boundaries, by the engine at blocks. */
  shouldStop(): boolean;
  /** Resolves at once unless the run is paused. */
  whilePaused(): Promise<void>;
  onStep(report: StepReport): Promise<void> | void;
  onEval(report: EvalReport): Promise<void> | void;
  /** Called at a step boundary: the engine's state belongs to `state.step`. */
  saveCheckpoint(state: LoopState, isBest: boolean): Promise<void>;
  /** Monotonic seconds. */
  now(): number;
}

export interface LoopResult {
  reason: 'finished' | 'early_stopping' | 'stopped';
  state: LoopState;
}

/** Mean negative log-likelihood in nats over all labels of the batches. */
export async function meanLoss(
  engine: Engine,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): Promise<{ loss: number; lossTokens: number }> {
  let lossSum = 0;
  let lossTokens = 0;
  for await (const batch of batches) {
    lossSum += (await engine.evaluate(batch)).lossSum;
    lossTokens += batch.lossTokens;
  }
  if (lossTokens === 0) {
    throw new DotaError('data.empty', 'No token of the evaluation data carries a loss.', {
      next: 'Check loss_mask and max_length.',
    });
  }
  return { loss: lossSum / lossTokens, lossTokens };
}

/** True at the steps where an interval ends; `interval` 0 means the end of each epoch. */
function isDue(step: number, interval: number, stepsPerEpoch: number): boolean {
  return step % (interval > 0 ? interval : stepsPerEpoch) === 0;
}

/**
 * Trains until `totalSteps`, early stopping or a stop request.
 * @param validation yields the same batches at every call; undefined = no validation
 * @throws DotaError `train.nonFinite` before a non-finite loss or gradient reaches the weights
 */
export async function trainLoop(
  engine: Engine,
  batches: TrainingBatches,
  validation: (() => Iterable<Batch> | AsyncIterable<Batch>) | undefined,
  options: LoopOptions,
  totalSteps: number,
  start: LoopState,
  hooks: LoopHooks,
): Promise<LoopResult> {
  const schedule: Schedule = {
    type: options.lr_scheduler_type,
    learningRate: options.learning_rate,
    warmupSteps: options.warmup_steps,
    totalSteps,
  };
  const state: LoopState = { ...start, unlogged: { ...start.unlogged } };
  let savedStep = start.step;
  let mark = hooks.now();
  const countTime = (): void => {
    const now = hooks.now();
    state.elapsed += now - mark;
    mark = now;
  };

  const save = async (isBest: boolean): Promise<void> => {
    countTime();
    await hooks.saveCheckpoint(state, isBest);
    savedStep = state.step;
    mark = hooks.now();
  };

  const evaluate = async (source: NonNullable<typeof validation>): Promise<boolean> => {
    const { loss } = await meanLoss(engine, source());
    countTime();
    const bar = state.best?.validationLoss ?? Infinity;
    const isBest = loss < bar;
    const improved = loss < bar - options.early_stopping_threshold;
    state.evaluationsWithoutImprovement = improved ? 0 : state.evaluationsWithoutImprovement + 1;
    state.lastValidationLoss = loss;
    state.evaluatedStep = state.step;
    if (isBest) state.best = { step: state.step, validationLoss: loss };
    await hooks.onEval({
      step: state.step,
      loss,
      tokens: state.tokens,
      elapsed: state.elapsed,
      isBest,
    });
    return isBest;
  };

  const evaluationIsDue = (): boolean =>
    validation !== undefined &&
    (state.step === totalSteps || isDue(state.step, options.eval_steps, batches.stepsPerEpoch));

  /** What follows a step; true when training has stopped improving. */
  const evaluateAndSave = async (): Promise<boolean> => {
    const evaluates = evaluationIsDue();
    const isBest = evaluates && validation !== undefined && (await evaluate(validation));
    const saves =
      state.step === totalSteps ||
      (options.save_steps > 0
        ? isDue(state.step, options.save_steps, batches.stepsPerEpoch)
        : evaluates);
    // A new best is kept even between two saves: it may be what the run is for.
    if (saves || isBest) await save(isBest);
    const exhausted =
      evaluates &&
      options.early_stopping_patience > 0 &&
      state.evaluationsWithoutImprovement >= options.early_stopping_patience;
    if (exhausted && savedStep !== state.step) await save(false);
    return exhausted;
  };

  const stopped = async (): Promise<LoopResult> => {
    if (savedStep !== state.step) await save(state.best?.step === state.step);
    return { reason: 'stopped', state };
  };

  try {
    if (state.step === 0 && options.eval_on_start && validation !== undefined) {
      await evaluate(validation);
    }
    const owesEvaluation =
      state.step > 0 && state.evaluatedStep !== state.step && evaluationIsDue();
    if (owesEvaluation && (await evaluateAndSave())) {
      return { reason: 'early_stopping', state };
    }
    let loggedTokens = state.tokens;
    let loggedElapsed = state.elapsed;
    let upcoming: Batch[] | undefined;
    while (state.step < totalSteps) {
      if (hooks.shouldStop()) return await stopped();
      countTime();
      await hooks.whilePaused();
      mark = hooks.now();
      if (hooks.shouldStop()) return await stopped();

      const step = state.step + 1;
      const micro = upcoming ?? batches.step(step);
      const lossTokens = micro.reduce((sum, batch) => sum + batch.lossTokens, 0);
      // One normalisation for the whole accumulated batch: micro-batches of unequal length must
      // weigh by their tokens, not equally.
      for (const batch of micro) await engine.forwardBackward(batch, 1 / lossTokens);
      // A GPU has the work still before it, and is waited for only by what follows: meanwhile the next
      // step's batches are put together.
      upcoming = step < totalSteps ? batches.step(step + 1) : undefined;
      const lossSum = await engine.takeLossSum();
      const gradNorm = await engine.gradientNorm();
      if (!Number.isFinite(lossSum) || !Number.isFinite(gradNorm)) {
        const culprit = await engine.findNonFinite();
        await engine.zeroGradient();
        throw new DotaError(
          'train.nonFinite',
          `Step ${String(step)}: loss ${String(lossSum / lossTokens)}, gradient norm ${String(gradNorm)}` +
            (culprit === undefined ? '.' : `; first at ${culprit}.`),
          {
            next: 'The weights were not changed. Lower learning_rate or max_grad_norm and resume from the last checkpoint.',
          },
        );
      }
      const learningRate = learningRateAt(schedule, step);
      await engine.optimizerStep(
        {
          step,
          learningRate,
          weightDecay: options.weight_decay,
          adamBeta1: options.adam_beta1,
          adamBeta2: options.adam_beta2,
          adamEpsilon: options.adam_epsilon,
          maxGradNorm: options.max_grad_norm,
        },
        gradNorm,
      );

      countTime();
      state.step = step;
      state.tokens += micro.reduce((sum, batch) => sum + batch.tokens, 0);
      state.unlogged.lossSum += lossSum;
      state.unlogged.lossTokens += lossTokens;
      const isLast = step === totalSteps;
      if (step % options.logging_steps === 0 || isLast) {
        const loss = state.unlogged.lossSum / state.unlogged.lossTokens;
        state.unlogged = { lossSum: 0, lossTokens: 0 };
        state.lastTrainLoss = loss;
        await hooks.onStep({
          step,
          epoch: step / batches.stepsPerEpoch,
          loss,
          learningRate,
          gradNorm,
          tokens: state.tokens,
          tokensPerSecond:
            (state.tokens - loggedTokens) / Math.max(1e-9, state.elapsed - loggedElapsed),
          elapsed: state.elapsed,
        });
        loggedTokens = state.tokens;
        loggedElapsed = state.elapsed;
      }

      const elapsedInSteps = state.elapsed;
      if (await evaluateAndSave()) return { reason: 'early_stopping', state };
      // Time that evaluation and saving took is no part of the next step's rate.
      loggedElapsed += state.elapsed - elapsedInSteps;
    }
    return { reason: 'finished', state };
  } catch (error) {
    if (!(error instanceof DotaError && error.code === 'run.stopped')) throw error;
    // Stopped between two blocks: the partial step is dropped, the last whole one is kept.
    await engine.zeroGradient();
    return stopped();
  }
}
