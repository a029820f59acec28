/**
 * Trainable parameters, their gradient and AdamW's moments. In the host's memory they are four flat
 * vectors, of which graphs read and write contiguous views without a copy; on a GPU each group has
 * four tensors, which stay there from step to step.
 */
import { DotaError } from '../../protocol/errors';
import type { EngineState, OptimizerOptions } from '../engine';
import type { Device } from '../ort/device';
import type { Slot } from '../ort/values';
import { hostArray } from '../ort/values';
import type { ParameterGroup, ParameterLayout } from './parameterLayout';
import { type Unit, Updater, updateUnits, type VectorName, vectorNames } from './updates';

type Vectors = Record<VectorName, Slot>;

export class ParameterStore {
  readonly layout: ParameterLayout;
  readonly #device: Device;
  /** The flat vectors, where the device is the CPU. */
  readonly #flat: Record<VectorName, Float32Array> | undefined;
  readonly #groups = new Map<ParameterGroup, Vectors>();
  readonly #units: readonly (Unit & { vectors: Vectors })[];
  readonly #updater: Updater;

  private constructor(
    layout: ParameterLayout,
    device: Device,
    groups: Map<ParameterGroup, Vectors>,
    flat: Record<VectorName, Float32Array> | undefined,
  ) {
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

  /** All vectors are zero. */
  static async create(layout: ParameterLayout, device: Device): Promise<ParameterStore> {
    const groups = new Map<ParameterGroup, Vectors>();
    if (device.kind === 'cpu') {
      const flat = eachVector(() => new Float32Array(layout.size));
      for (const group of layoutGroups(layout)) groups.set(group, viewsOf(flat, group));
      return new ParameterStore(layout, device, groups, flat);
    }
    for (const group of layoutGroups(layout)) {
      const zeros = new Float32Array(group.size);
      const vectors: Partial<Vectors> = {};
      for (const name of vectorNames) {
        vectors[name] = { value: await device.upload(zeros, 'float32', [group.size]) };
      }
      groups.set(group, vectors as Vectors);
    }
    return new ParameterStore(layout, device, groups, undefined);
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
    return {
      parameters: await this.#read('parameters'),
      firstMoment: await this.#read('first_moment'),
      secondMoment: await this.#read('second_moment'),
    };
  }

  async writeState(state: EngineState): Promise<void> {
    const size = this.layout.size;
    const lengths = [state.parameters, state.firstMoment, state.secondMoment].map((v) => v.length);
    if (lengths.some((length) => length !== size)) {
      throw new DotaError(
        'run.corrupt',
        `The saved state holds ${lengths.join(', ')} numbers; this model and adapter have ${size}.`,
        { next: 'Resume with the configuration that the checkpoint was made with.' },
      );
    }
    await this.#write('parameters', state.parameters);
    await this.#write('first_moment', state.firstMoment);
    await this.#write('second_moment', state.secondMoment);
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
