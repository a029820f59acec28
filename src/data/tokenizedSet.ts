/** Token sequences with their loss masks, in flat arrays: five bytes a token, however many rows. */
import { createHash } from 'node:crypto';

export class TokenizedSet {
  private ids: Int32Array;
  private mask: Uint8Array;
  /** Start of each sequence, and the end of the last. */
  private starts: number[] = [0];

  constructor(capacity = 1 << 16) {
    this.ids = new Int32Array(capacity);
    this.mask = new Uint8Array(capacity);
  }

  /** A set of these arrays, as `flat` gives them; they are not copied. */
  static of(ids: Int32Array, mask: Uint8Array, lengths: Int32Array): TokenizedSet {
    const set = new TokenizedSet(0);
    set.ids = ids;
    set.mask = mask;
    let end = 0;
    set.starts = [0];
    for (const length of lengths) set.starts.push((end += length));
    return set;
  }

  /** All sequences one after the other (views), with their lengths. */
  flat(): { ids: Int32Array; mask: Uint8Array; lengths: Int32Array } {
    return {
      ids: this.ids.subarray(0, this.tokens),
      mask: this.mask.subarray(0, this.tokens),
      lengths: Int32Array.from({ length: this.length }, (_, i) => this.lengthOf(i)),
    };
  }

  /** Number of sequences. */
  get length(): number {
    return this.starts.length - 1;
  }

  /** Tokens of all sequences together. */
  get tokens(): number {
    return this.starts[this.length] as number;
  }

  /** @param lossMask 1 where the token is a target; its first entry has no meaning */
  add(inputIds: ArrayLike<number>, lossMask: ArrayLike<number>): void {
    const start = this.tokens;
    const end = start + inputIds.length;
    if (end > this.ids.length) {
      const capacity = Math.max(end, 2 * this.ids.length);
      const ids = new Int32Array(capacity);
      ids.set(this.ids.subarray(0, start));
      this.ids = ids;
      const mask = new Uint8Array(capacity);
      mask.set(this.mask.subarray(0, start));
      this.mask = mask;
    }
    this.ids.set(inputIds, start);
    this.mask.set(lossMask, start);
    this.starts.push(end);
  }

  lengthOf(index: number): number {
    return (this.starts[index + 1] as number) - (this.starts[index] as number);
  }

  /** Views into the set; do not write to them. */
  at(index: number): { inputIds: Int32Array; lossMask: Uint8Array } {
    const start = this.starts[index];
    const end = this.starts[index + 1];
    if (start === undefined || end === undefined) throw new RangeError(`no sequence ${index}`);
    return { inputIds: this.ids.subarray(start, end), lossMask: this.mask.subarray(start, end) };
  }

  /** A new set of some of the sequences, in the order given. */
  select(indices: Iterable<number>): TokenizedSet {
    const set = new TokenizedSet();
    for (const index of indices) {
      const { inputIds, lossMask } = this.at(index);
      set.add(inputIds, lossMask);
    }
    return set;
  }

  /** Number of targets: masked tokens that have a token before them. */
  lossTokens(): number {
    let count = 0;
    for (let i = 0; i < this.length; i++) count += countTargets(this.at(i).lossMask);
    return count;
  }

  /** SHA-256 (hex) of everything that is trained on. */
  fingerprint(): string {
    const hash = createHash('sha256');
    const { ids, mask, lengths } = this.flat();
    hash.update(lengths).update(ids).update(mask);
    return hash.digest('hex');
  }
}

/** Targets of one sequence; the first token is never predicted. */
export function countTargets(lossMask: ArrayLike<number>): number {
  let count = 0;
  for (let i = 1; i < lossMask.length; i++) count += lossMask[i] === 1 ? 1 : 0;
  return count;
}
