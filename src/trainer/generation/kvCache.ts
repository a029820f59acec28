/** Keys and values of the tokens so far, of all layers, for a batch of sequences. */
import type { DecoderConfig } from '../../models/modelConfig';
import { noteExternal } from '../ort/externalMemory';

/** Slots are multiples of this, doubled when full: each capacity is a graph to compile. */
const MIN_CAPACITY = 64;

type CacheShape = Pick<DecoderConfig, 'numLayers' | 'numKeyValueHeads' | 'headDim'>;

interface LayerCache {
  /** `[batch, keyValueHeads, capacity, headDim]` */
  key: Float32Array;
  value: Float32Array;
}

export class KvCache {
  readonly #shape: CacheShape;
  #layers: LayerCache[];
  /** Tokens of each sequence that are in the cache; token t lies in slot t. */
  #lengths: Int32Array;
  #capacity = 0;

  constructor(config: CacheShape, batch: number) {
    this.#shape = config;
    this.#lengths = new Int32Array(batch);
    this.#layers = Array.from({ length: config.numLayers }, () => emptyLayer());
  }

  get batch(): number {
    return this.#lengths.length;
  }

  /** Slots a sequence. */
  get capacity(): number {
    return this.#capacity;
  }

  get lengths(): Readonly<Int32Array> {
    return this.#lengths;
  }

  layer(index: number): Readonly<LayerCache> {
    return this.#layers[index] as LayerCache;
  }

  /** Makes room for `lengths[b] + added[b]` tokens of each sequence. */
  reserve(added: readonly number[]): void {
    const needed = Math.max(...added.map((count, b) => (this.#lengths[b] as number) + count));
    if (needed <= this.#capacity) return;
    let capacity = Math.max(MIN_CAPACITY, this.#capacity);
    while (capacity < needed) capacity *= 2;
    this.#move(capacity, [...this.#lengths.keys()]);
  }

  /**
   * Writes the rows of new tokens behind the present ones; `advance` makes them count.
   * @param key `[batch, keyValueHeads, sequence, headDim]`, as `value`
   * @param added how many of each sequence's rows are tokens and not padding
   */
  write(
    layer: number,
    key: Float32Array,
    value: Float32Array,
    sequence: number,
    added: readonly number[],
  ): void {
    const { numKeyValueHeads: heads, headDim } = this.#shape;
    const target = this.#layers[layer] as LayerCache;
    added.forEach((count, b) => {
      for (let h = 0; h < heads; h++) {
        const from = (b * heads + h) * sequence * headDim;
        const slot = (b * heads + h) * this.#capacity + (this.#lengths[b] as number);
        target.key.set(key.subarray(from, from + count * headDim), slot * headDim);
        target.value.set(value.subarray(from, from + count * headDim), slot * headDim);
      }
    });
  }

  /** Counts the tokens written in all layers. */
  advance(added: readonly number[]): void {
    this.#lengths = this.#lengths.map((length, b) => length + (added[b] as number));
  }

  /** Sequence i becomes a copy of what sequence `rows[i]` was (beams that branch or end). */
  select(rows: readonly number[]): void {
    if (rows.length === this.batch && rows.every((row, i) => row === i)) return;
    this.#move(this.#capacity, rows);
  }

  #move(capacity: number, rows: readonly number[]): void {
    const { numKeyValueHeads: heads, headDim } = this.#shape;
    const lengths = Int32Array.from(rows, (row) => this.#lengths[row] as number);
    const copy = (old: Float32Array): Float32Array => {
      const next = new Float32Array(rows.length * heads * capacity * headDim);
      rows.forEach((row, i) => {
        const size = (lengths[i] as number) * headDim;
        for (let h = 0; h < heads; h++) {
          const from = (row * heads + h) * this.#capacity * headDim;
          next.set(old.subarray(from, from + size), (i * heads + h) * capacity * headDim);
        }
      });
      noteExternal(next.byteLength);
      return next;
    };
    this.#layers = this.#layers.map(({ key, value }) => ({ key: copy(key), value: copy(value) }));
    this.#lengths = lengths;
    this.#capacity = capacity;
  }
}

function emptyLayer(): LayerCache {
  return { key: new Float32Array(0), value: new Float32Array(0) };
}
