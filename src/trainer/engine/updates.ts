/** AdamW, the gradient's norm and clearing, in units that one graph handles at once. */
import {
  type AdamWScalar,
  buildAdamW,
  buildFill,
  buildSumOfSquares,
  runScalar,
} from '../../graph/optimizer/adamw';
import type { AdamWFactors } from '../../core/blockwise8bit';
import type { OptimizerOptions } from '../engine';
import type { Device, Session } from '../ort/device';
import { hostNumber, type Slot, type Value } from '../ort/values';
import type { ParameterGroup, ParameterLayout } from './parameterLayout';

export const vectorNames = ['parameters', 'gradient', 'first_moment', 'second_moment'] as const;
export type VectorName = (typeof vectorNames)[number];

/** Neighbouring parameters that are updated alike. */
export interface UpdateRun {
  size: number;
  weightDecay: boolean;
  learningRateFactor: number;
}

/** What one graph updates: a whole group, or a part of it. */
export interface Unit {
  group: ParameterGroup;
  offset: number;
  size: number;
  runs: readonly UpdateRun[];
}

/** Bounds the transient memory of an update in the host's memory. */
const MAX_UPDATE_LENGTH = 2 ** 22;

/**
 * @param inPlace each unit is one run (views of flat vectors, updated where they lie); else a unit is
 *   a whole group, whose tensors are replaced
 */
export function updateUnits(layout: ParameterLayout, inPlace: boolean): Unit[] {
  const groups = [layout.embedding, ...layout.blocks, layout.head].filter(
    (group) => group !== undefined,
  );
  return groups.flatMap((group): Unit[] => {
    if (group.size === 0) return [];
    const runs = runsOf(group);
    const { offset, size } = group;
    if (!inPlace) return [{ group, offset, size, runs }];
    let start = offset;
    return runs.flatMap((run) => {
      const first = start;
      start += run.size;
      return Array.from({ length: Math.ceil(run.size / MAX_UPDATE_LENGTH) }, (_, i): Unit => {
        const length = Math.min(MAX_UPDATE_LENGTH, run.size - i * MAX_UPDATE_LENGTH);
        return {
          group,
          offset: first + i * MAX_UPDATE_LENGTH,
          size: length,
          runs: [{ ...run, size: length }],
        };
      });
    });
  });
}

function runsOf({ tensors }: ParameterGroup): UpdateRun[] {
  const runs: UpdateRun[] = [];
  for (const { size, weightDecay, learningRateFactor } of tensors) {
    const last = runs.at(-1);
    if (last?.weightDecay === weightDecay && last.learningRateFactor === learningRateFactor) {
      last.size += size;
    } else {
      runs.push({ size, weightDecay, learningRateFactor });
    }
  }
  return runs;
}

type Vectors = Record<VectorName, Slot>;

/** The optimizer's compiled graphs. */
export class Updater {
  readonly #device: Device;
  readonly #sessions = new Map<string, Promise<Session>>();

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * The L2 norm of all gradients together. The CPU's parts are added in fp64; from a GPU one number
   * comes back, so its parts are added there, in fp32.
   */
  async norm(units: readonly { gradient: Slot; runs: readonly UpdateRun[] }[]): Promise<number> {
    let total = 0;
    let sum: Value = Float32Array.of(0);
    for (const { gradient, runs } of units) {
      const length = lengthOf(runs);
      const session = await this.#session(`norm:${length}`, () => buildSumOfSquares(length));
      const results: Record<string, Value> = await session.run({ gradient: gradient.value, sum });
      if (this.#device.kind === 'cpu') total += hostNumber(results['next_sum']);
      else sum = results['next_sum'] as Value;
    }
    return Math.sqrt(total + hostNumber(await this.#device.read(sum)));
  }

  async adamW(
    runs: readonly UpdateRun[],
    vectors: Vectors,
    options: OptimizerOptions,
    gradientNorm: number,
  ): Promise<void> {
    const clip = clipFactor(options, gradientNorm);
    const lengths = runs.map(({ size }) => size);
    const session = await this.#session(`adamw:${lengths.join()}`, () => buildAdamW(lengths));
    await session.run(
      {
        parameters: vectors.parameters.value,
        first_moment: vectors.first_moment.value,
        second_moment: vectors.second_moment.value,
        gradient: vectors.gradient.value,
        ...scalarFeeds(options, runs, clip),
      },
      {
        next_parameters: vectors.parameters,
        next_first_moment: vectors.first_moment,
        next_second_moment: vectors.second_moment,
      },
    );
  }

  async clear(gradient: Slot, runs: readonly UpdateRun[]): Promise<void> {
    const length = lengthOf(runs);
    const session = await this.#session(`fill:${length}`, () => buildFill(length));
    await session.run({ value: Float32Array.of(0) }, { vector: gradient });
  }

  async dispose(): Promise<void> {
    const sessions = await Promise.all(this.#sessions.values());
    this.#sessions.clear();
    for (const session of sessions) await session.release();
  }

  #session(key: string, build: () => Parameters<Device['compile']>[0]): Promise<Session> {
    const known = this.#sessions.get(key);
    if (known) return known;
    const session = this.#device.compile(build(), { label: 'optimizer' });
    this.#sessions.set(key, session);
    return session;
  }
}

function lengthOf(runs: readonly UpdateRun[]): number {
  return runs.reduce((sum, { size }) => sum + size, 0);
}

/** Factor of the gradient that brings its norm down to the largest allowed one. */
export function clipFactor({ maxGradNorm }: OptimizerOptions, gradientNorm: number): number {
  return maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradientNorm + 1e-6)) : 1;
}

export function adamWFactors(
  options: OptimizerOptions,
  { weightDecay, learningRateFactor }: Omit<UpdateRun, 'size'>,
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

/** The scalar inputs of one update. */
function scalarFeeds(
  options: OptimizerOptions,
  runs: readonly UpdateRun[],
  clip: number,
): Record<string, Float32Array> {
  const factors = runs.map((run) => adamWFactors(options, run, clip));
  const { beta1, beta2, correction2, epsilon } = factors[0] as AdamWFactors;
  const shared: Record<AdamWScalar, number> = {
    clip,
    beta2,
    rate1: 1 - beta1,
    rate2: 1 - beta2,
    correction2,
    epsilon,
  };
  const values: [string, number][] = [
    ...Object.entries(shared),
    ...factors.flatMap(({ decay, stepSize }, run): [string, number][] => [
      [runScalar('decay', run), decay],
      [runScalar('step_size', run), stepSize],
    ]),
  ];
  return Object.fromEntries(values.map(([name, value]) => [name, Float32Array.of(value)]));
}
