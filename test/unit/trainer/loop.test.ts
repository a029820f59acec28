import { describe, expect, it } from 'vitest';
import type { Batch, Engine, EngineState, OptimizerOptions } from '../../../src/trainer/engine';
import {
  initialLoopState,
  trainLoop,
  type LoopHooks,
  type LoopOptions,
  type StepReport,
} from '../../../src/trainer/loop';
import { DotaError } from '../../../src/protocol/errors';

/**
 * One parameter w and the loss sum over a batch of `tokens * (w - target)^2 / 2`, minimised by plain
 * gradient descent: small enough that every expected number below is worked out by hand.
 */
class Parabola implements Engine {
  readonly trainable = [];
  readonly optimizerBytes = 0;
  w = 0;
  gradient = 0;
  failAt: number | undefined;
  /** The loss looks well, its gradient is none. */
  gradientFailsAt: number | undefined;
  stopAt: number | undefined;
  calls = 0;

  private target(batch: Batch): number {
    return batch.inputIds[0] ?? 0;
  }
  private losses = 0;
  async forwardBackward(batch: Batch, gradientScale: number): Promise<void> {
    this.calls++;
    if (this.calls === this.stopAt) throw new DotaError('run.stopped', 'stopped');
    if (this.calls === this.failAt) {
      this.losses = Number.NaN;
      return;
    }
    const distance = this.w - this.target(batch);
    if (this.calls === this.gradientFailsAt) this.gradient = Number.NaN;
    this.gradient += gradientScale * batch.lossTokens * distance;
    this.losses += (batch.lossTokens * distance * distance) / 2;
  }
  async takeLossSum(): Promise<number> {
    const sum = this.losses;
    this.losses = 0;
    return sum;
  }
  async evaluate(batch: Batch): Promise<{ lossSum: number }> {
    const distance = this.w - this.target(batch);
    return { lossSum: (batch.lossTokens * distance * distance) / 2 };
  }
  async logits(): Promise<Float32Array> {
    return new Float32Array();
  }
  async gradientNorm(): Promise<number> {
    return Math.abs(this.gradient);
  }
  async optimizerStep({ learningRate }: OptimizerOptions): Promise<void> {
    this.w -= learningRate * this.gradient;
    this.gradient = 0;
  }
  async zeroGradient(): Promise<void> {
    this.gradient = 0;
  }
  async findNonFinite(): Promise<string | undefined> {
    return 'w';
  }
  async readState(): Promise<EngineState> {
    const moments = new Float32Array(1);
    return { parameters: Float32Array.of(this.w), firstMoment: moments, secondMoment: moments };
  }
  async writeState(state: EngineState): Promise<void> {
    this.w = state.parameters[0] ?? 0;
  }
  async readGradient(): Promise<Float32Array> {
    return Float32Array.of(this.gradient);
  }
  async dispose(): Promise<void> {}
}

function batch(target: number, lossTokens: number): Batch {
  const one = Int32Array.of(target);
  return {
    batchSize: 1,
    sequenceLength: 1,
    inputIds: one,
    labels: one,
    positionIds: one,
    segmentIds: one,
    lossTokens,
    tokens: lossTokens + 1,
  };
}

const options: LoopOptions = {
  learning_rate: 0.5,
  lr_scheduler_type: 'constant',
  warmup_steps: 0,
  weight_decay: 0,
  adam_beta1: 0.9,
  adam_beta2: 0.999,
  adam_epsilon: 1e-8,
  max_grad_norm: 0,
  logging_steps: 1,
  eval_steps: 0,
  eval_on_start: true,
  save_steps: 0,
  early_stopping_patience: 0,
  early_stopping_threshold: 0,
};

function recorder(overrides: Partial<LoopHooks> = {}) {
  const steps: StepReport[] = [];
  const events: string[] = [];
  let clock = 0;
  const hooks: LoopHooks = {
    shouldStop: () => false,
    whilePaused: async () => {},
    onStep: (report) => {
      steps.push(report);
      events.push(`step ${String(report.step)}`);
    },
    onEval: ({ step, isBest }) => {
      events.push(`eval ${String(step)}${isBest ? ' best' : ''}`);
    },
    saveCheckpoint: async ({ step }, isBest) => {
      events.push(`save ${String(step)}${isBest ? ' best' : ''}`);
    },
    now: () => clock++,
    ...overrides,
  };
  return { hooks, steps, events };
}

const toEight = { stepsPerEpoch: 2, step: () => [batch(8, 1)] };

describe('trainLoop', () => {
  it('puts the next step’s batches together before it waits for the step, each once', async () => {
    const order: string[] = [];
    class Watched extends Parabola {
      override forwardBackward(given: Batch, scale: number): Promise<void> {
        order.push('forward');
        return super.forwardBackward(given, scale);
      }
      override takeLossSum(): Promise<number> {
        order.push('loss');
        return super.takeLossSum();
      }
      override gradientNorm(): Promise<number> {
        order.push('norm');
        return super.gradientNorm();
      }
    }
    const batches = {
      stepsPerEpoch: 9,
      step: (n: number) => {
        order.push(`batches ${String(n)}`);
        return [batch(8, 1)];
      },
    };
    const { hooks } = recorder();
    await trainLoop(new Watched(), batches, undefined, options, 3, initialLoopState, hooks);
    expect(order).toEqual([
      ...['batches 1', 'forward', 'batches 2', 'loss', 'norm'],
      ...['forward', 'batches 3', 'loss', 'norm'],
      ...['forward', 'loss', 'norm'],
    ]);
  });

  it('normalises an accumulated batch by all of its unmasked tokens', async () => {
    const engine = new Parabola();
    const { hooks, steps } = recorder();
    // Targets 4 (1 token) and 8 (3 tokens): the mean gradient at w = 0 is -(4 + 24) / 4 = -7; a mean
    // of means would be -6.
    const batches = { stepsPerEpoch: 1, step: () => [batch(4, 1), batch(8, 3)] };
    await trainLoop(engine, batches, undefined, options, 1, initialLoopState, hooks);
    expect(steps[0]?.gradNorm).toBe(7);
    expect(steps[0]?.loss).toBe((8 + 3 * 32) / 4);
    expect(engine.w).toBe(3.5);
  });

  it('reports the rate over all steps since the last report', async () => {
    const { hooks, steps } = recorder();
    const every4 = { ...options, logging_steps: 4 };
    await trainLoop(new Parabola(), toEight, undefined, every4, 8, initialLoopState, hooks);
    const [first, second] = steps as [StepReport, StepReport];
    // 4 steps of 2 tokens, each between the same number of looks at the clock.
    expect(second.tokens - first.tokens).toBe(8);
    expect(second.tokensPerSecond).toBeCloseTo(8 / (second.elapsed - first.elapsed), 12);
  });

  it('evaluates and saves at the end of each epoch and at the end', async () => {
    const { hooks, events } = recorder();
    const validation = () => [batch(8, 1)];
    await trainLoop(new Parabola(), toEight, validation, options, 3, initialLoopState, hooks);
    expect(events).toEqual([
      'eval 0 best',
      'step 1',
      'step 2',
      'eval 2 best',
      'save 2 best',
      'step 3',
      'eval 3 best',
      'save 3 best',
    ]);
  });

  it('stops early after the given number of evaluations without improvement', async () => {
    const { hooks, events } = recorder();
    // Training moves w towards 8, away from the validation's 0.
    const result = await trainLoop(
      new Parabola(),
      toEight,
      () => [batch(0, 1)],
      { ...options, eval_steps: 1, early_stopping_patience: 2 },
      100,
      initialLoopState,
      hooks,
    );
    expect(result.reason).toBe('early_stopping');
    expect(result.state.step).toBe(2);
    expect(result.state.best).toEqual({ step: 0, validationLoss: 0 });
    expect(events.at(-1)).toBe('save 2');
  });

  it.each(['failAt', 'gradientFailsAt'] as const)(
    'keeps a non-finite loss or gradient from the weights and names the tensor: %s',
    async (what) => {
      const engine = new Parabola();
      engine[what] = 2;
      const { hooks } = recorder();
      const run = trainLoop(engine, toEight, undefined, options, 5, initialLoopState, hooks);
      await expect(run).rejects.toMatchObject({ code: 'train.nonFinite' });
      await expect(run).rejects.toThrow(/Step 2.*first at w/);
      expect(engine.w).toBe(4);
      expect(engine.gradient).toBe(0);
    },
  );

  it('drops the partial step when it is stopped between blocks, and saves the last whole one', async () => {
    const engine = new Parabola();
    engine.stopAt = 4;
    const { hooks, events } = recorder();
    const batches = { stepsPerEpoch: 9, step: () => [batch(8, 1), batch(8, 1)] };
    const result = await trainLoop(engine, batches, undefined, options, 5, initialLoopState, hooks);
    expect(result.reason).toBe('stopped');
    expect(events).toEqual(['step 1', 'save 1']);
    expect(engine.w).toBe(4);
    expect(engine.gradient).toBe(0);
  });

  it('makes up for an evaluation that a stop cut short, best and patience included', async () => {
    const whole = recorder();
    await trainLoop(
      new Parabola(),
      toEight,
      () => [batch(8, 1)],
      options,
      4,
      initialLoopState,
      whole.hooks,
    );
    const engine = new Parabola();
    const first = recorder();
    // The stop comes after step 2, in the evaluation that ends the first epoch.
    const cut = (): Batch[] => {
      if (engine.calls === 2) throw new DotaError('run.stopped', 'stopped');
      return [batch(8, 1)];
    };
    const { state } = await trainLoop(
      engine,
      toEight,
      cut,
      options,
      4,
      initialLoopState,
      first.hooks,
    );
    expect(first.events.slice(-2)).toEqual(['step 2', 'save 2']);
    const second = recorder();
    await trainLoop(engine, toEight, () => [batch(8, 1)], options, 4, state, second.hooks);
    expect(second.events[0]).toBe('eval 2 best');
    const without = (events: string[]): string[] => events.filter((e) => e !== 'save 2');
    expect(without([...first.events, ...second.events])).toEqual(without(whole.events));
  });

  it('continues a stopped run to the same numbers', async () => {
    const whole = recorder();
    const logEveryTwo = { ...options, logging_steps: 2 };
    await trainLoop(
      new Parabola(),
      toEight,
      undefined,
      logEveryTwo,
      6,
      initialLoopState,
      whole.hooks,
    );

    const engine = new Parabola();
    const first = recorder({ shouldStop: () => engine.calls >= 3 });
    const half = await trainLoop(
      engine,
      toEight,
      undefined,
      logEveryTwo,
      6,
      initialLoopState,
      first.hooks,
    );
    expect(half.reason).toBe('stopped');
    expect(half.state.step).toBe(3);
    const second = recorder();
    await trainLoop(engine, toEight, undefined, logEveryTwo, 6, half.state, second.hooks);
    const columns = (steps: StepReport[]) =>
      steps.map(({ step, loss, learningRate, gradNorm, tokens }) => [
        step,
        loss,
        learningRate,
        gradNorm,
        tokens,
      ]);
    expect([...columns(first.steps), ...columns(second.steps)]).toEqual(columns(whole.steps));
  });
});
