/**
 * Weights that don't train. They stay in the file's type or in 4 bits; a reader widens a
 * few at a time into a buffer that is used again for the next ones. Small models are widened once, unless
 * they are quantised: a dense copy beside the 4-bit one would defeat its purpose.
 */
import { dequantizeNf4, type Nf4Tensor } from '../../core/nf4';
import type { Storage } from '../../graph/layers/storedWeight';
import { type Shape, sizeOf } from '../../graph/shape';
import { toFloat32, widenInto } from '../../models/dtype';
import type { RawTensor, WeightSource } from '../../models/modelConfig';
import { DotaError } from '../../protocol/errors';
import type { Device } from '../ort/device';
import type { Value, Values } from '../ort/values';
import { type DeviceWeight, uploadWeight } from './deviceWeights';
import { releaseArray } from '../ort/releaseArray';
import { type TablePart, uploadParts } from './slicedTable';

export interface WeightReader extends Pick<WeightSource, 'names' | 'read'> {
  /** True where it keeps the tensors it gives; else each read gives an array of the caller's own. */
  readonly keeps?: boolean;
}

export interface NamedShape {
  name: string;
  shape: readonly number[];
}

/** A `WeightReader` over tensors in memory. */
export function weightsFromMap(tensors: ReadonlyMap<string, RawTensor>): WeightReader {
  return {
    names: [...tensors.keys()],
    keeps: true,
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

/** A tensor's values as fp32, in an array of the caller's own. */
export async function readFloat32(
  weights: WeightReader,
  wanted: NamedShape,
): Promise<Float32Array> {
  const values = new Float32Array(sizeOf(wanted.shape));
  const { data, ...tensor } = await readChecked(weights, wanted);
  widenInto({ ...tensor, data }, values);
  if (weights.keeps !== true) releaseArray(data);
  return values;
}

export class FrozenWeights {
  readonly #raw: Map<string, RawTensor>;
  readonly #widened: Map<string, Float32Array>;
  /** Those of `#widened` that nobody else has. */
  readonly #own: Set<string>;
  readonly #quantized = new Map<string, Nf4Tensor>();
  /** Filled by `moveTo`: then nothing is left in the maps above. */
  readonly #onDevice = new Map<string, DeviceWeight>();
  readonly #parts = new Map<string, readonly TablePart[]>();
  #scratch = new Float32Array(0);

  private constructor(
    raw: Map<string, RawTensor>,
    widened: Map<string, Float32Array>,
    own: Set<string>,
  ) {
    this.#raw = raw;
    this.#widened = widened;
    this.#own = own;
  }

  /**
   * @param widen whether all weights are widened once; else they stay in the file's type
   * @param options.narrow keep 16-bit tensors as they are in any case
   */
  static async load(
    weights: WeightReader,
    wanted: readonly NamedShape[],
    widen: boolean,
    { narrow = false }: { narrow?: boolean } = {},
  ): Promise<FrozenWeights> {
    const raw = new Map<string, RawTensor>();
    const widened = new Map<string, Float32Array>();
    const own = new Set<string>();
    for (const item of wanted) {
      const tensor = await readChecked(weights, item);
      // Nothing writes to frozen weights, so fp32 tensors are shared with the reader.
      const keep = narrow && (tensor.dtype === 'BF16' || tensor.dtype === 'F16');
      if (widen && !keep) {
        const values = toFloat32(tensor, item.name);
        const copied = values !== tensor.data;
        widened.set(item.name, values);
        if (copied || weights.keeps !== true) own.add(item.name);
        if (copied && weights.keeps !== true) releaseArray(tensor.data);
      } else raw.set(item.name, tensor);
    }
    return new FrozenWeights(raw, widened, own);
  }

  /** True when every weight was widened once. */
  get resident(): boolean {
    return this.#raw.size === 0;
  }

  /** Replaces a weight by fp32 values that stay in memory (an explicit residual). */
  replace(name: string, values: Float32Array): void {
    const old = this.#widened.get(name);
    if (old && this.#own.has(name)) releaseArray(old);
    this.#own.add(name);
    this.#widened.set(name, values);
    // Whoever has the stored form takes `read` to widen it into the buffer, and may write there.
    this.#raw.delete(name);
  }

  /** Adds a weight that is kept in NF4. */
  store(name: string, tensor: Nf4Tensor): void {
    this.#quantized.set(name, tensor);
  }

  /**
   * Puts every weight on a GPU in the form it is stored in, and lets go of the host's copies. On the
   * CPU weights stay where they are and are widened when they are fed.
   * @param tables tables of the vocabulary, and how many of their rows fit one buffer where not all do
   */
  async moveTo(
    device: Device,
    shapeOf: (name: string) => Shape,
    tables: { names: readonly string[]; partRows: number | undefined },
  ): Promise<void> {
    if (device.kind === 'cpu') return;
    const { names, partRows } = tables;
    for (const from of [this.#widened, this.#quantized, this.#raw]) {
      for (const [name, weight] of from) {
        const shape = shapeOf(name);
        if (partRows !== undefined && names.includes(name) && !('codes' in weight)) {
          const table = shape as [number, number];
          this.#parts.set(name, await uploadParts(device, name, weight, table, partRows));
        } else this.#onDevice.set(name, await uploadWeight(device, name, weight, shape));
        from.delete(name);
      }
    }
    releaseArray(this.#scratch);
    this.#scratch = new Float32Array(0);
  }

  /**
   * Whether `read` widens a weight into its buffer, where the caller may change it to save memory. (In a
   * model that is small enough to be resident it costs more time than its memory is worth.)
   */
  widens(name: string): boolean {
    return this.#raw.has(name) || (this.#quantized.has(name) && !this.resident);
  }

  /** How a weight enters a graph; undefined where it is fed in fp32. */
  storage(name: string): Storage | undefined {
    return this.#onDevice.get(name)?.storage;
  }

  /** The parts in which a table lies on the device; undefined where it is there as a whole. */
  parts(name: string): readonly TablePart[] | undefined {
    return this.#parts.get(name);
  }

  /** What to feed for these weights; on the CPU valid until the next call. */
  feeds(weights: readonly { name: string; input: string }[]): Values {
    const here = weights.filter(({ name }) => !this.#onDevice.has(name));
    const values = this.read(here.map(({ name }) => name));
    const feeds: Record<string, Value> = {};
    here.forEach(({ input }, i) => (feeds[input] = values[i] as Float32Array));
    for (const { name, input } of weights) {
      const { parts = [] } = this.#onDevice.get(name) ?? {};
      for (const { suffix, value } of parts) feeds[input + suffix] = value;
    }
    return feeds;
  }

  /** fp32 values, valid until the next call. */
  read(names: readonly string[]): Float32Array[] {
    const stored = names.map((name) => this.#widened.get(name) ?? this.#storedOf(name));
    const total = stored.reduce((sum, item) => sum + scratchLength(item), 0);
    this.#fitScratch(total);
    let offset = 0;
    return stored.map((item) => {
      if (item instanceof Float32Array) return item;
      const values = this.#scratch.subarray(offset, (offset += scratchLength(item)));
      if ('codes' in item) dequantizeNf4(item, values);
      else widenInto(item, values);
      return values;
    });
  }

  /**
   * Consecutive rows of a matrix as fp32, `[count, width]`; valid until the next call of this or
   * `read`.
   */
  readRows(name: string, from: number, count: number, width: number): Float32Array {
    const widened = this.#widened.get(name);
    if (widened) return widened.subarray(from * width, (from + count) * width);
    const tensor = this.#rawOf(name);
    this.#fitScratch(count * width);
    const values = this.#scratch.subarray(0, count * width);
    const data = tensor.data.subarray(from * width, (from + count) * width);
    widenInto({ ...tensor, shape: [count, width], data }, values);
    return values;
  }

  /** The collector would keep the smaller buffer for some steps. */
  #fitScratch(length: number): void {
    if (length <= this.#scratch.length) return;
    releaseArray(this.#scratch);
    this.#scratch = new Float32Array(length);
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

  #storedOf(name: string): RawTensor | Nf4Tensor {
    return this.#quantized.get(name) ?? this.#rawOf(name);
  }

  #rawOf(name: string): RawTensor {
    const tensor = this.#raw.get(name);
    if (!tensor) throw new Error(`no frozen weight "${name}"`);
    return tensor;
  }
}

/** Elements of scratch that reading a stored weight takes. */
function scratchLength(item: Float32Array | RawTensor | Nf4Tensor): number {
  if (item instanceof Float32Array) return 0;
  return 'codes' in item ? item.length : item.data.length;
}

/** Sum of squared differences and of squares of `reference`, in fp64. */
export function squaredError(
  reference: Float32Array,
  approximation: Float32Array,
): { squaredError: number; energy: number } {
  let error = 0;
  let energy = 0;
  reference.forEach((value, i) => {
    error += (value - (approximation[i] as number)) ** 2;
    energy += value ** 2;
  });
  return { squaredError: error, energy };
}
