/** Lengths that sequences are padded to. */

/** Steps between a power of two and the next: padding adds less than an eighth of the length, or 8 tokens. */
const stepsPerOctave = 8;
const smallestStep = 8;

/**
 * The length that so many tokens are padded to: a multiple of 8 up to 128, of 16 up to 256, of 32 up to 512
 * and so on. Each length is a set of graphs to compile: of these there are 8 for every doubling, 32 up to
 * 512 tokens, where multiples of 8 are 64.
 * @param longest length that may come: it is padded to a multiple of `minStep` and no further, so that the
 *   largest batch takes no more memory than its data need
 * @param minStep a power of two
 */
export function paddedLength(length: number, longest = Infinity, minStep = smallestStep): number {
  const octave = 2 ** Math.floor(Math.log2(Math.max(1, length - 1)));
  const step = Math.max(minStep, octave / stepsPerOctave);
  const padded = Math.ceil(length / step) * step;
  return Math.min(padded, Math.ceil(longest / minStep) * minStep);
}
