/**
 * Weights that don't train. They stay in the file's type; a reader widens one block at a time into
 * a buffer that is used again for the next block. Small models are widened once.
 */
import { sizeOf } from '../../graph/shape';
import type { RawTensor, WeightSource } from '../../models/modelConfig';
import { DotaError } from '../../protocol/errors';
import { widenInto } from './widen';

export type WeightReader = Pick<WeightSource, 'names' | 'read'>;

export interface NamedShape {
  name: string;
  shape: readonly number[];
}

/** A `WeightReader` over tensors in memory. */
export function weightsFromMap(tensors: ReadonlyMap<string, RawTensor>): WeightReader {
  return {
    names: [...tensors.keys()],
    read: (name) => {
      const tensor = tensors.get(name);
      if (tensor) return Promise.resolve(tensor);
      return Promise.reject(new DotaError('file.malformed', `The model has no tensor "${name}".`));
    },
  };
}

/** Reads a tensor and checks its shape. */
export async function readChecked(
  weights: WeightReader,
  { name, shape }: NamedShape,
): Promise<RawTensor> {
  if (!weights.names.includes(name)) {
    throw new DotaError('file.malformed', `The checkpoint has no tensor "${name}".`, {
      next: 'Check that all shards are there and that config.json belongs to these weights.',
    });
  }
  const tensor = await weights.read(name);
  if (tensor.shape.join() !== shape.join()) {
    throw new DotaError(
      'model.shape',
      `Tensor "${name}" is [${tensor.shape.join(', ')}]; config.json implies [${shape.join(', ')}].`,
      { next: 'Check that config.json belongs to these weights.' },
    );
  }
  return tensor;
}

export async function readFloat32(
  weights: WeightReader,
  wanted: NamedShape,
): Promise<Float32Array> {
  const values = new Float32Array(sizeOf(wanted.shape));
  widenInto(await readChecked(weights, wanted), values);
  return values;
}

/** Below this many bytes as fp32 a model is widened once. */
const RESIDENT_LIMIT = 2 ** 30;

export class FrozenWeights {
  readonly #raw: ReadonlyMap<string, RawTensor>;
  readonly #widened: Map<string, Float32Array>;
  #scratch = new Float32Array(0);

  private constructor(raw: ReadonlyMap<string, RawTensor>, widened: Map<string, Float32Array>) {
    this.#raw = raw;
    this.#widened = widened;
  }

  static async load(weights: WeightReader, wanted: readonly NamedShape[]): Promise<FrozenWeights> {
    const bytes = wanted.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
    const raw = new Map<string, RawTensor>();
    const widened = new Map<string, Float32Array>();
    for (const item of wanted) {
      if (bytes <= RESIDENT_LIMIT) widened.set(item.name, await readFloat32(weights, item));
      else raw.set(item.name, await readChecked(weights, item));
    }
    return new FrozenWeights(raw, widened);
  }

  /** Replaces a weight by fp32 values that stay in memory (an explicit residual). */
  replace(name: string, values: Float32Array): void {
    this.#widened.set(name, values);
  }

  /** fp32 values, valid until the next call. */
  read(names: readonly string[]): Float32Array[] {
    const packed = names.map((name) => (this.#widened.has(name) ? undefined : this.#rawOf(name)));
    const total = packed.reduce((sum, tensor) => sum + (tensor?.data.length ?? 0), 0);
    if (total > this.#scratch.length) this.#scratch = new Float32Array(total);
    let offset = 0;
    return names.map((name, i) => {
      const tensor = packed[i];
      if (!tensor) return this.#widened.get(name) as Float32Array;
      const values = this.#scratch.subarray(offset, (offset += tensor.data.length));
      widenInto(tensor, values);
      return values;
    });
  }

  /** Copies rows of a matrix, widened. */
  gatherRows(name: string, rows: Int32Array, width: number, into: Float32Array): void {
    const widened = this.#widened.get(name);
    const tensor = widened ? undefined : this.#rawOf(name);
    rows.forEach((row, i) => {
      const target = into.subarray(i * width, (i + 1) * width);
      const from = row * width;
      if (widened) target.set(widened.subarray(from, from + width));
      else if (tensor) {
        widenInto({ ...tensor, data: tensor.data.subarray(from, from + width) }, target);
      }
    });
  }

  #rawOf(name: string): RawTensor {
    const tensor = this.#raw.get(name);
    if (!tensor) throw new Error(`no frozen weight "${name}"`);
    return tensor;
  }
}
