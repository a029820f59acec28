/**
 * Optimizer state in 8 bits (Dettmers et al., arXiv 2110.02861; bitsandbytes): each block of 256
 * values is divided by its absolute maximum and rounded to the nearest value of the dynamic map,
 * signed for the first moment, unsigned for the second.
 */
import { dynamicMap, midpoints, nearestCode } from './dynamicMap';

/** Values that share a scale. */
export const STATE_BLOCK = 256;

export interface BlockwiseMoment {
  /** One a value. */
  codes: Uint8Array;
  /** Absolute maximum of each block. */
  absmax: Float32Array;
}

/** A map with a search that hardly ever takes more than one comparison. */
export class CodeBook {
  readonly values: Float32Array;
  /** Code of 0. */
  readonly zero: number;
  readonly #thresholds: Float64Array;
  /** Lowest code of the values whose fp32 bits begin with these 16. */
  readonly #start = new Uint8Array(2 ** 16);
  readonly #float = new Float32Array(1);
  readonly #bits = new Uint32Array(this.#float.buffer);

  constructor(signed: boolean) {
    this.values = dynamicMap(signed);
    this.zero = this.values.indexOf(0);
    this.#thresholds = midpoints(this.values);
    for (let head = 0; head < this.#start.length; head++) {
      // Of the values that share these bits, the smallest: the last one where the sign bit is set.
      this.#bits[0] = ((head << 16) | (head & 0x8000 ? 0xffff : 0)) >>> 0;
      const smallest = this.#float[0] as number;
      this.#start[head] = Number.isNaN(smallest) ? 0 : nearestCode(this.#thresholds, smallest);
    }
  }

  /** Nearest code of an fp32 value within [-1, 1]; the lower one half-way between two. */
  nearest(x: number): number {
    this.#float[0] = x;
    let code = this.#start[(this.#bits[0] as number) >>> 16] as number;
    while (x > (this.#thresholds[code] as number)) code++;
    return code;
  }
}

export const signedBook = new CodeBook(true);
export const unsignedBook = new CodeBook(false);

/** Blocks of a tensor of `size` values: a block never holds values of two tensors. */
export function blockCount(size: number): number {
  return Math.ceil(size / STATE_BLOCK);
}

/** A moment of zeros. */
export function zeroMoment(size: number, blocks: number, book: CodeBook): BlockwiseMoment {
  return { codes: new Uint8Array(size).fill(book.zero), absmax: new Float32Array(blocks) };
}

export interface AdamWFactors {
  /** Factor of the gradient (clipping). */
  clip: number;
  /** 1 - learningRate * weightDecay */
  decay: number;
  beta1: number;
  beta2: number;
  /** learningRate / (1 - beta1^step) */
  stepSize: number;
  /** sqrt(1 - beta2^step) */
  correction2: number;
  epsilon: number;
}

/**
 * One AdamW step of one tensor in place: the update of `torch.optim.AdamW` with the new moments in
 * full precision, which are then stored in 8 bits.
 * @param first,second views of the tensor's codes and blocks
 */
export function adamW8bitStep(
  parameters: Float32Array,
  gradient: Float32Array,
  first: BlockwiseMoment,
  second: BlockwiseMoment,
  { clip, decay, beta1, beta2, stepSize, correction2, epsilon }: AdamWFactors,
): void {
  const m = new Float32Array(STATE_BLOCK);
  const v = new Float32Array(STATE_BLOCK);
  const { values: signedValues } = signedBook;
  const { values: unsignedValues } = unsignedBook;
  for (let block = 0, start = 0; start < parameters.length; block++, start += STATE_BLOCK) {
    const length = Math.min(STATE_BLOCK, parameters.length - start);
    const scale1 = first.absmax[block] as number;
    const scale2 = second.absmax[block] as number;
    let largest1 = 0;
    let largest2 = 0;
    for (let i = 0; i < length; i++) {
      const at = start + i;
      const g = clip * (gradient[at] as number);
      const m1 =
        beta1 * scale1 * (signedValues[first.codes[at] as number] as number) + (1 - beta1) * g;
      const v1 =
        beta2 * scale2 * (unsignedValues[second.codes[at] as number] as number) +
        (1 - beta2) * g * g;
      m[i] = m1;
      v[i] = v1;
      largest1 = Math.max(largest1, Math.abs(m[i] as number));
      largest2 = Math.max(largest2, v[i] as number);
      const denominator = Math.sqrt(v1) / correction2 + epsilon;
      parameters[at] = decay * (parameters[at] as number) - (stepSize * m1) / denominator;
    }
    first.absmax[block] = largest1;
    second.absmax[block] = largest2;
    const inverse1 = largest1 > 0 ? 1 / largest1 : 0;
    const inverse2 = largest2 > 0 ? 1 / largest2 : 0;
    for (let i = 0; i < length; i++) {
      first.codes[start + i] = signedBook.nearest(Math.fround((m[i] as number) * inverse1));
      second.codes[start + i] = unsignedBook.nearest(Math.fround((v[i] as number) * inverse2));
    }
  }
}
