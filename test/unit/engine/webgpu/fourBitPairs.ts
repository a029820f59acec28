/** NF4 tensors that hold every pair of codes. */
import { type Nf4Tensor, SCALE_BLOCK } from '../../../../src/core/nf4';
import { Rng } from '../../../../src/core/rng';

const blockSize = 64;
/** A second, unfilled group of scales. */
const blocks = SCALE_BLOCK + 44;

/**
 * Each byte of codes occurs in 37 or 38 blocks.
 * @param doubleQuantized every code of a scale occurs as well
 */
export function fourBitPairs(doubleQuantized: boolean): Nf4Tensor {
  const random = new Rng(4, 'scales').normals(blocks, 1);
  return {
    length: blocks * blockSize,
    blockSize,
    codes: Uint8Array.from({ length: (blocks * blockSize) / 2 }, (_, i) => i & 255),
    scales: doubleQuantized
      ? {
          codes: Uint8Array.from({ length: blocks }, (_, i) => i & 255),
          offset: 0.3,
          blockScales: Float32Array.of(0.2, 0.7),
        }
      : random,
  };
}
