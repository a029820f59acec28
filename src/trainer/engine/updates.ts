/** AdamW, the gradient's norm and clearing, in units that one graph handles at once. */
import {
  adamWScalars,
  type AdamWScalar,
  buildAdamW,
  buildFill,
  buildSumOfSquares,
  runScalar,
} from '../../graph/optimizer/adamw';
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

  /** The L2 norm of all gradients together; one number comes back from the device. */
  async norm(units: readonly { gradient: Slot; runs: readonly UpdateRun[] }[]): Promise<number> {
    let sum: Value = Float32Array.of(0);
    for (const { gradient, runs } of units) {
      const length = lengthOf(runs);
      const session = await this.#session(`norm:${length}`, () => buildSumOfSquares(length));
      const results: Record<string, Value> = await session.run({ gradient: gradient.value, sum });
      sum = results['next_sum'] as Value;
    }
    return Math.sqrt(hostNumber(await this.#device.read(sum)));
  }

  async adamW(
    runs: readonly UpdateRun[],
    vectors: Vectors,
    options: OptimizerOptions,
    gradientNorm: number,
  ): Promise<void> {
    const { maxGradNorm } = options;
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradientNorm + 1e-6)) : 1;
    const lengths = runs.map(({ size }) => size);
    const session = await this.#session(`adamw:${lengths.join()}`, () => buildAdamW(lengths));
    await session.run(
      {
        parameters: vectors.parameters.value,
        first_moment: vectors.first_moment.value,
        second_moment: vectors.second_moment.value,
        gradient: vectors.gradient.value,
        ...scalarFeeds(options, clip),
        ...runFeeds(options, runs),
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
    const session = this.#device.compile(build());
    this.#sessions.set(key, session);
    return session;
  }
}

function lengthOf(runs: readonly UpdateRun[]): number {
  return runs.reduce((sum, { size }) => sum + size, 0);
}

function scalarFeeds(options: OptimizerOptions, clip: number): Record<AdamWScalar, Float32Array> {
  const { step, adamBeta1, adamBeta2, adamEpsilon } = options;
  const values: Record<AdamWScalar, number> = {
    clip,
    beta2: adamBeta2,
    rate1: 1 - adamBeta1,
    rate2: 1 - adamBeta2,
    correction2: Math.sqrt(1 - adamBeta2 ** step),
    epsilon: adamEpsilon,
  };
  return Object.fromEntries(
    adamWScalars.map((name) => [name, Float32Array.of(values[name])]),
  ) as Record<AdamWScalar, Float32Array>;
}

function runFeeds(
  { step, adamBeta1, ...options }: OptimizerOptions,
  runs: readonly UpdateRun[],
): Record<string, Float32Array> {
  return Object.fromEntries(
    runs.flatMap(({ weightDecay, learningRateFactor }, i) => {
      const learningRate = options.learningRate * learningRateFactor;
      const decay = 1 - learningRate * (weightDecay ? options.weightDecay : 0);
      return [
        [runScalar('decay', i), Float32Array.of(decay)],
        [runScalar('step_size', i), Float32Array.of(learningRate / (1 - adamBeta1 ** step))],
      ];
    }),
  );
}
