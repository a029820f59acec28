/**
 * Trainable parameters, their gradient and AdamW's moments: flat vectors of equal length.
 * Graphs read and write contiguous views of them without a copy; the loop never sees them.
 */
import {
  adamWScalars,
  type AdamWScalar,
  buildAdamW,
  buildSumOfSquares,
} from '../../graph/optimizer/adamw';
import type { RunConfig } from '../../config/runConfig';
import type { AdamWFactors } from '../../core/blockwise8bit';
import { DotaError } from '../../protocol/errors';
import type { EngineState, EngineStatePart, Moment, OptimizerOptions } from '../engine';
import type { Device, Session } from '../ort/device';
import { Moments8bit } from './moments8bit';
import type { ParameterGroup, ParameterLayout } from './parameterLayout';

export type OptimizerKind = RunConfig['training']['optim'];

/** Bounds the transient memory of an update of one large group. */
const MAX_UPDATE_LENGTH = 2 ** 22;

interface UpdateRange {
  offset: number;
  size: number;
  weightDecay: boolean;
  learningRateFactor: number;
}

export class ParameterStore {
  readonly layout: ParameterLayout;
  readonly #parameters: Float32Array;
  readonly #gradient: Float32Array;
  readonly #moments: Moments8bit | { first: Float32Array; second: Float32Array };
  readonly #ranges: readonly UpdateRange[];
  readonly #device: Device;
  /** Compiled by operation and length; blocks of a kind share them. */
  readonly #sessions = new Map<string, Promise<Session>>();

  constructor(layout: ParameterLayout, device: Device, optimizer: OptimizerKind = 'adamw_torch') {
    this.layout = layout;
    this.#device = device;
    this.#parameters = new Float32Array(layout.size);
    this.#gradient = new Float32Array(layout.size);
    this.#moments =
      optimizer === 'adamw_8bit'
        ? new Moments8bit(layout.tensors)
        : { first: new Float32Array(layout.size), second: new Float32Array(layout.size) };
    this.#ranges = updateRanges(layout);
  }

  /** Views of one group, to be fed to the graph that owns it. */
  parameters(group: ParameterGroup): Float32Array {
    return view(this.#parameters, group);
  }

  gradient(group: ParameterGroup): Float32Array {
    return view(this.#gradient, group);
  }

  zeroGradient(): void {
    this.#gradient.fill(0);
  }

  async gradientNorm(): Promise<number> {
    let sum = 0;
    for (const range of this.#ranges) {
      const session = await this.#session('norm', range.size);
      const { sum_of_squares: part } = await session.run({ gradient: view(this.#gradient, range) });
      sum += part?.[0] as number;
    }
    return Math.sqrt(sum);
  }

  async adamWStep(options: OptimizerOptions, gradientNorm: number): Promise<void> {
    const { maxGradNorm } = options;
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradientNorm + 1e-6)) : 1;
    if (this.#moments instanceof Moments8bit) {
      this.#moments.step(this.#parameters, this.#gradient, (tensor) =>
        adamWFactors(options, tensor, clip),
      );
      this.zeroGradient();
      return;
    }
    const { first, second } = this.#moments;
    for (const range of this.#ranges) {
      const session = await this.#session('adamw', range.size);
      const parameters = view(this.#parameters, range);
      const first_moment = view(first, range);
      const second_moment = view(second, range);
      await session.run(
        {
          parameters,
          first_moment,
          second_moment,
          gradient: view(this.#gradient, range),
          ...scalarFeeds(options, range, clip),
        },
        {
          next_parameters: parameters,
          next_first_moment: first_moment,
          next_second_moment: second_moment,
        },
      );
    }
    this.zeroGradient();
  }

  /** Name of the first tensor whose gradient has a value that is not finite. */
  findNonFinite(): string | undefined {
    return this.layout.tensors.find(
      (tensor) => !view(this.#gradient, tensor).every(Number.isFinite),
    )?.name;
  }

  readState(): EngineState {
    return {
      parameters: this.#parameters.slice(),
      firstMoment: copyOf(this.#moments.first),
      secondMoment: copyOf(this.#moments.second),
    };
  }

  writeState({ parameters, firstMoment, secondMoment }: EngineStatePart): void {
    const size = this.layout.size;
    if (parameters.length !== size) throw wrongState(parameters.length, size);
    const { first, second } = this.#moments;
    // All is checked before anything is overwritten.
    const writes = [
      firstMoment && momentWrite(firstMoment, first),
      secondMoment && momentWrite(secondMoment, second),
    ];
    this.#parameters.set(parameters);
    for (const write of writes) write?.();
  }

  readGradient(): Float32Array {
    return this.#gradient.slice();
  }

  async dispose(): Promise<void> {
    const sessions = await Promise.all(this.#sessions.values());
    this.#sessions.clear();
    for (const session of sessions) await session.release();
  }

  #session(operation: 'adamw' | 'norm', length: number): Promise<Session> {
    const key = `${operation}:${length}`;
    const known = this.#sessions.get(key);
    if (known) return known;
    const build = operation === 'adamw' ? buildAdamW : buildSumOfSquares;
    const session = this.#device.compile(build(length));
    this.#sessions.set(key, session);
    return session;
  }
}

function view(
  vector: Float32Array,
  { offset, size }: { offset: number; size: number },
): Float32Array {
  return vector.subarray(offset, offset + size);
}

/** Runs of tensors that are updated alike, cut where they get too long. */
function updateRanges(layout: ParameterLayout): UpdateRange[] {
  const ranges: UpdateRange[] = [];
  for (const group of [layout.embedding, ...layout.blocks, layout.head]) {
    let current: UpdateRange | undefined;
    for (const { offset, size, weightDecay, learningRateFactor } of group?.tensors ?? []) {
      if (
        current?.weightDecay === weightDecay &&
        current.learningRateFactor === learningRateFactor
      ) {
        current.size += size;
      } else {
        current = { offset, size, weightDecay, learningRateFactor };
        ranges.push(current);
      }
    }
  }
  return ranges.flatMap((range) => {
    const count = Math.ceil(range.size / MAX_UPDATE_LENGTH);
    return Array.from({ length: count }, (_, i) => ({
      ...range,
      offset: range.offset + i * MAX_UPDATE_LENGTH,
      size: Math.min(MAX_UPDATE_LENGTH, range.size - i * MAX_UPDATE_LENGTH),
    }));
  });
}

function copyOf(moment: Moment): Moment {
  if (moment instanceof Float32Array) return moment.slice();
  return { codes: moment.codes.slice(), absmax: moment.absmax.slice() };
}

/** @throws DotaError `run.corrupt` where the two don't fit */
function momentWrite(from: Moment, to: Moment): () => void {
  if (from instanceof Float32Array && to instanceof Float32Array) {
    if (from.length !== to.length) throw wrongState(from.length, to.length);
    return () => {
      to.set(from);
    };
  }
  if (from instanceof Float32Array || to instanceof Float32Array) {
    throw new DotaError('run.corrupt', 'The saved optimizer state is of another optimizer.', {
      where: 'training.optim',
      next: 'Resume with the configuration that the checkpoint was made with.',
    });
  }
  if (from.codes.length !== to.codes.length || from.absmax.length !== to.absmax.length) {
    throw wrongState(from.codes.length, to.codes.length);
  }
  return () => {
    to.codes.set(from.codes);
    to.absmax.set(from.absmax);
  };
}

function wrongState(found: number, expected: number): DotaError {
  return new DotaError(
    'run.corrupt',
    `The saved state holds ${found} numbers; this model and adapter have ${expected}.`,
    { next: 'Resume with the configuration that the checkpoint was made with.' },
  );
}

function adamWFactors(
  options: OptimizerOptions,
  { weightDecay, learningRateFactor }: Pick<UpdateRange, 'weightDecay' | 'learningRateFactor'>,
  clip: number,
): AdamWFactors {
  const { step, adamBeta1, adamBeta2, adamEpsilon } = options;
  const learningRate = options.learningRate * learningRateFactor;
  return {
    clip,
    decay: 1 - learningRate * (weightDecay ? options.weightDecay : 0),
    beta1: adamBeta1,
    beta2: adamBeta2,
    stepSize: learningRate / (1 - adamBeta1 ** step),
    correction2: Math.sqrt(1 - adamBeta2 ** step),
    epsilon: adamEpsilon,
  };
}

function scalarFeeds(
  options: OptimizerOptions,
  range: UpdateRange,
  clip: number,
): Record<AdamWScalar, Float32Array> {
  const factors = adamWFactors(options, range, clip);
  const values: Record<AdamWScalar, number> = {
    clip,
    decay: factors.decay,
    beta2: factors.beta2,
    rate1: 1 - factors.beta1,
    rate2: 1 - factors.beta2,
    step_size: factors.stepSize,
    correction2: factors.correction2,
    epsilon: factors.epsilon,
  };
  return Object.fromEntries(
    adamWScalars.map((name) => [name, Float32Array.of(values[name])]),
  ) as Record<AdamWScalar, Float32Array>;
}
