/**
 * Which sequences form which batch, as a pure function of (seed, epoch, index): a resumed run asks
 * for the batch it stopped at and gets the same one.
 */
import { Rng } from '../core/rng';
import { ignoredLabel, type Batch } from './batch';
import { paddedLength } from './paddedLength';
import type { TokenizedSet } from './tokenizedSet';

export interface BatchOptions {
  batchSize: number;
  seed: number;
  /** A new order each epoch; without it, the order of the set (evaluation). */
  shuffle: boolean;
  /** Rows of a batch have similar lengths, so that little padding is computed. */
  groupByLength?: boolean;
  /** Several sequences share a row of at most `maxLength`, attention and positions kept apart. */
  packing?: boolean;
  /** Row length with packing; the longest sequence when smaller. */
  maxLength: number;
  padTokenId: number;
}

/** Batches in which lengths are sorted when grouping, as in transformers' LengthGroupedSampler. */
const groupedBatches = 50;

export class BatchPlan {
  /** Sequence indices of each row: one without packing. */
  private readonly rows: readonly (readonly number[])[];
  private readonly rowLengths: readonly number[];
  private readonly longest: number;
  private epochOrder: { epoch: number; order: Int32Array } | undefined;

  constructor(
    private readonly set: TokenizedSet,
    private readonly options: BatchOptions,
  ) {
    const lengths = Array.from({ length: set.length }, (_, i) => set.lengthOf(i));
    this.rows =
      options.packing === true ? packRows(lengths, options.maxLength) : lengths.map((_, i) => [i]);
    this.rowLengths = this.rows.map((row) => row.reduce((sum, i) => sum + (lengths[i] ?? 0), 0));
    this.longest = this.rowLengths.reduce((most, length) => Math.max(most, length), 0);
  }

  /** The same in every epoch; the last batch may be smaller. */
  get batchesPerEpoch(): number {
    return Math.ceil(this.rows.length / this.options.batchSize);
  }

  /** Lengths that rows of the batches may have, padding included. */
  get paddedLengths(): ReadonlySet<number> {
    return new Set(this.rowLengths.map((length) => paddedLength(length, this.longest)));
  }

  /** @param epoch from 0 @param index from 0, below `batchesPerEpoch` */
  batch(epoch: number, index: number): Batch {
    const { batchSize, padTokenId } = this.options;
    const order = this.order(epoch);
    const chosen = order.subarray(index * batchSize, (index + 1) * batchSize);
    if (index < 0 || chosen.length === 0) throw new RangeError(`no batch ${index}`);
    const rows = Array.from(chosen, (row) => this.rows[row] ?? []);
    return collate(this.set, rows, padTokenId, this.longest);
  }

  private order(epoch: number): Int32Array {
    const key = this.options.shuffle ? epoch : 0;
    if (this.epochOrder?.epoch !== key)
      this.epochOrder = { epoch: key, order: this.makeOrder(key) };
    return this.epochOrder.order;
  }

  private makeOrder(epoch: number): Int32Array {
    const { seed, shuffle, groupByLength, batchSize } = this.options;
    const count = this.rows.length;
    const order = shuffle
      ? new Rng(seed, 'data.shuffle', epoch).permutation(count)
      : Int32Array.from({ length: count }, (_, i) => i);
    if (groupByLength !== true) return order;
    // Evaluation sorts the whole set; training only within stretches, so that batches stay random.
    const stretch = shuffle ? groupedBatches * batchSize : count;
    const batches: Int32Array[] = [];
    let rest: Int32Array | undefined;
    for (let start = 0; start < count; start += stretch) {
      const sorted = order.slice(start, start + stretch);
      sorted.sort((a, b) => (this.rowLengths[b] ?? 0) - (this.rowLengths[a] ?? 0) || a - b);
      for (let at = 0; at < sorted.length; at += batchSize) {
        const batch = sorted.subarray(at, at + batchSize);
        if (batch.length === batchSize) batches.push(batch);
        else rest = batch;
      }
    }
    const batchOrder = shuffle
      ? new Rng(seed, 'data.batches', epoch).permutation(batches.length)
      : Int32Array.from({ length: batches.length }, (_, i) => i);
    const result = new Int32Array(count);
    let position = 0;
    // The incomplete batch stays last, since batches are cut at multiples of the batch size.
    for (const batch of [...Array.from(batchOrder, (i) => batches[i]), rest]) {
      if (batch === undefined) continue;
      result.set(batch, position);
      position += batch.length;
    }
    return result;
  }
}

/**
 * Best-fit decreasing: each sequence, longest first, goes to the fullest row that has room. The
 * composition does not depend on the epoch, so the number of steps does not either.
 * @returns sequence indices of each row
 */
export function packRows(lengths: readonly number[], maxLength: number): number[][] {
  const order = lengths
    .map((_, i) => i)
    .sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0) || a - b);
  const rows: number[][] = [];
  /** Rows by the room left in them; a stack each, so that the result is deterministic. */
  const byRoom: number[][] = Array.from({ length: maxLength + 1 }, () => []);
  for (const index of order) {
    const length = lengths[index] ?? 0;
    let room = length;
    while (room <= maxLength && byRoom[room]?.length === 0) room++;
    const row = byRoom[room]?.pop() ?? rows.push([]) - 1;
    rows[row]?.push(index);
    const left = (room <= maxLength ? room : maxLength) - length;
    if (left > 0) byRoom[left]?.push(row);
  }
  return rows;
}

/**
 * Pads rows on the right into one batch. Each sequence has its own segment and its own positions
 * from 0; its last token predicts nothing.
 * @param rows sequence indices of each row
 * @param longestRow of all batches, as `paddedLength` wants it
 */
export function collate(
  set: TokenizedSet,
  rows: readonly (readonly number[])[],
  padTokenId: number,
  longestRow?: number,
): Batch {
  const longest = Math.max(
    ...rows.map((row) => row.reduce((sum, index) => sum + set.lengthOf(index), 0)),
  );
  const sequenceLength = paddedLength(longest, longestRow);
  const size = rows.length * sequenceLength;
  const batch: Batch = {
    batchSize: rows.length,
    sequenceLength,
    inputIds: new Int32Array(size).fill(padTokenId),
    labels: new Int32Array(size).fill(ignoredLabel),
    positionIds: new Int32Array(size),
    segmentIds: new Int32Array(size),
    lossTokens: 0,
    tokens: 0,
  };
  for (const [r, row] of rows.entries()) {
    let start = r * sequenceLength;
    for (const [s, index] of row.entries()) {
      const { inputIds, lossMask } = set.at(index);
      batch.inputIds.set(inputIds, start);
      batch.segmentIds.fill(s + 1, start, start + inputIds.length);
      for (let t = 0; t < inputIds.length; t++) {
        batch.positionIds[start + t] = t;
        if (t + 1 < inputIds.length && lossMask[t + 1] === 1) {
          batch.labels[start + t] = inputIds[t + 1] as number;
          batch.lossTokens++;
        }
      }
      batch.tokens += inputIds.length;
      start += inputIds.length;
    }
  }
  return batch;
}
