/**
 * Trainable parameters, their gradient and AdamW's moments. In the host's memory they are four flat
 * vectors, of which graphs read and write contiguous views without a copy; on a GPU each group has
 * four tensors, which stay there from step to step.
 */
import type { RunConfig } from '../../config/runConfig';
import { DotaError } from '../../protocol/errors';
import type { EngineState, EngineStatePart, Moment, OptimizerOptions } from '../engine';
import type { Device } from '../ort/device';
import type { Slot } from '../ort/values';
import { hostArray } from '../ort/values';
import { Moments8bit } from './moments8bit';
import { copyOf, momentWrite, wrongOptimizer, wrongState } from './moments';
import type { ParameterGroup, ParameterLayout } from './parameterLayout';
import {
  adamWFactors,
  clipFactor,
  type Unit,
  Updater,
  updateUnits,
  type VectorName,
  vectorNames,
} from './updates';

export type OptimizerKind = RunConfig['training']['optim'];

type Vectors = Record<VectorName, Slot>;

export class ParameterStore {
  readonly layout: ParameterLayout;
  readonly #device: Device;
  /** The flat vectors, where the device is the CPU. */
  readonly #flat: Record<VectorName, Float32Array> | undefined;
  readonly #groups = new Map<ParameterGroup, Vectors>();
  readonly #units: readonly (Unit & { vectors: Vectors })[];
  readonly #updater: Updater;
  /** In place of the moments among the vectors, with the 8-bit optimizer. */
  readonly #moments8bit: Moments8bit | undefined;

  private constructor(
    layout: ParameterLayout,
    device: Device,
    groups: Map<ParameterGroup, Vectors>,
    flat: Record<VectorName, Float32Array> | undefined,
    moments8bit: Moments8bit | undefined,
  ) {
    this.#moments8bit = moments8bit;
    this.layout = layout;
    this.#device = device;
    this.#groups = groups;
    this.#flat = flat;
    this.#updater = new Updater(device);
    this.#units = updateUnits(layout, flat !== undefined).map((unit) => ({
      ...unit,
      vectors: flat ? viewsOf(flat, unit) : (groups.get(unit.group) as Vectors),
    }));
  }

  /**
   * All vectors are zero.
   * @throws DotaError `config.invalid` for the 8-bit optimizer on a GPU
   */
  static async create(
    layout: ParameterLayout,
    device: Device,
    optimizer: OptimizerKind = 'adamw_torch',
  ): Promise<ParameterStore> {
    const groups = new Map<ParameterGroup, Vectors>();
    const eightBit = optimizer === 'adamw_8bit';
    if (device.kind === 'cpu') {
      const ownMoments = (name: VectorName): boolean =>
        eightBit && (name === 'first_moment' || name === 'second_moment');
      const flat = eachVector((name) => new Float32Array(ownMoments(name) ? 0 : layout.size));
      for (const group of layoutGroups(layout)) groups.set(group, viewsOf(flat, group));
      const moments = eightBit ? new Moments8bit(layout.tensors) : undefined;
      return new ParameterStore(layout, device, groups, flat, moments);
    }
    if (eightBit) {
      throw new DotaError('config.invalid', 'The 8-bit optimizer computes on the CPU only.', {
        where: 'training.optim',
        next: 'Set "optim": "adamw_torch", or "device": "cpu".',
      });
    }
    for (const group of layoutGroups(layout)) {
      const zeros = new Float32Array(group.size);
      const vectors: Partial<Vectors> = {};
      for (const name of vectorNames) {
        vectors[name] = { value: await device.upload(zeros, 'float32', [group.size]) };
      }
      groups.set(group, vectors as Vectors);
    }
    return new ParameterStore(layout, device, groups, undefined, undefined);
  }

  /** Bytes of both moments, in the form in which they are kept. */
  get momentBytes(): number {
    const { first, second } = this.#moments8bit ?? {};
    if (!first || !second) return 2 * 4 * this.layout.size;
    return [first, second].reduce(
      (sum, { codes, absmax }) => sum + codes.byteLength + absmax.byteLength,
      0,
    );
  }

  /** The vectors of one group, to be fed to the graph that owns it. */
  group(group: ParameterGroup): Vectors {
    const vectors = this.#groups.get(group);
    if (!vectors) throw new Error('this group has no parameters');
    return vectors;
  }

  async zeroGradient(): Promise<void> {
    if (this.#flat) {
      this.#flat.gradient.fill(0);
      return;
    }
    for (const { vectors, runs } of this.#units) await this.#updater.clear(vectors.gradient, runs);
  }

  gradientNorm(): Promise<number> {
    return this.#updater.norm(
      this.#units.map(({ vectors, runs }) => ({ gradient: vectors.gradient, runs })),
    );
  }

  async adamWStep(options: OptimizerOptions, gradientNorm: number): Promise<void> {
    if (this.#moments8bit && this.#flat) {
      const { parameters, gradient } = this.#flat;
      const clip = clipFactor(options, gradientNorm);
      this.#moments8bit.step(parameters, gradient, (tensor) => adamWFactors(options, tensor, clip));
      await this.zeroGradient();
      return;
    }
    for (const { runs, vectors } of this.#units) {
      await this.#updater.adamW(runs, vectors, options, gradientNorm);
    }
    await this.zeroGradient();
  }

  /** Name of the first tensor whose gradient has a value that is not finite. */
  async findNonFinite(): Promise<string | undefined> {
    const gradient = await this.readGradient();
    return this.layout.tensors.find((tensor) => !view(gradient, tensor).every(Number.isFinite))
      ?.name;
  }

  async readState(): Promise<EngineState> {
    const moments = this.#moments8bit;
    return {
      parameters: await this.#read('parameters'),
      firstMoment: moments ? copyOf(moments.first) : await this.#read('first_moment'),
      secondMoment: moments ? copyOf(moments.second) : await this.#read('second_moment'),
    };
  }

  async writeState({ parameters, firstMoment, secondMoment }: EngineStatePart): Promise<void> {
    const size = this.layout.size;
    if (parameters.length !== size) throw wrongState(parameters.length, size);
    // All is checked before anything is overwritten.
    const writes = [
      () => this.#write('parameters', parameters),
      firstMoment && this.#momentWrite('first_moment', firstMoment),
      secondMoment && this.#momentWrite('second_moment', secondMoment),
    ];
    for (const write of writes) await write?.();
  }

  /** @throws DotaError `run.corrupt` where the saved moment is of another size or optimizer */
  #momentWrite(
    name: 'first_moment' | 'second_moment',
    saved: Moment,
  ): () => Promise<void> | undefined {
    const moments = this.#moments8bit;
    const own = name === 'first_moment' ? moments?.first : moments?.second;
    if (own) return momentWrite(saved, own);
    if (!(saved instanceof Float32Array)) throw wrongOptimizer();
    if (saved.length !== this.layout.size) throw wrongState(saved.length, this.layout.size);
    return () => this.#write(name, saved);
  }

  readGradient(): Promise<Float32Array> {
    return this.#read('gradient');
  }

  async dispose(): Promise<void> {
    await this.#updater.dispose();
  }

  /** A copy of one whole vector. */
  async #read(name: VectorName): Promise<Float32Array> {
    if (this.#flat) return this.#flat[name].slice();
    const all = new Float32Array(this.layout.size);
    for (const [{ offset }, vectors] of this.#groups) {
      all.set(hostArray(await this.#device.read(vectors[name].value)), offset);
    }
    return all;
  }

  async #write(name: VectorName, values: Float32Array): Promise<void> {
    if (this.#flat) {
      this.#flat[name].set(values);
      return;
    }
    for (const [group, vectors] of this.#groups) {
      const slot = vectors[name];
      const old = slot.value;
      slot.value = await this.#device.upload(view(values, group), 'float32', [group.size]);
      await this.#device.free([old]);
    }
  }
}

function layoutGroups(layout: ParameterLayout): ParameterGroup[] {
  return [layout.embedding, ...layout.blocks, layout.head].filter(
    (group) => group !== undefined && group.size > 0,
  ) as ParameterGroup[];
}

function eachVector<T>(make: (name: VectorName) => T): Record<VectorName, T> {
  return Object.fromEntries(vectorNames.map((name) => [name, make(name)])) as Record<VectorName, T>;
}

function viewsOf(
  flat: Record<VectorName, Float32Array>,
  part: { offset: number; size: number },
): Vectors {
  return eachVector((name) => ({ value: view(flat[name], part) }));
}

function view(
  vector: Float32Array,
  { offset, size }: { offset: number; size: number },
): Float32Array {
  return vector.subarray(offset, offset + size);
}
