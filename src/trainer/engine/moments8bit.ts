/** AdamW's moments of all trainable tensors in 8 bits: 2.03 bytes a parameter instead of 8. */
import {
  adamW8bitStep,
  blockCount,
  signedBook,
  unsignedBook,
  zeroMoment,
  type AdamWFactors,
  type BlockwiseMoment,
} from '../../core/blockwise8bit';
import type { TrainableTensor } from '../engine';

export class Moments8bit {
  readonly first: BlockwiseMoment;
  readonly second: BlockwiseMoment;
  /** Where the blocks of each tensor begin. */
  readonly #firstBlock: readonly number[];

  constructor(private readonly tensors: readonly TrainableTensor[]) {
    let blocks = 0;
    let size = 0;
    this.#firstBlock = tensors.map((tensor) => {
      const start = blocks;
      blocks += blockCount(tensor.size);
      size += tensor.size;
      return start;
    });
    this.first = zeroMoment(size, blocks, signedBook);
    this.second = zeroMoment(size, blocks, unsignedBook);
  }

  /** Updates `parameters`; both are the whole flat vectors. */
  step(
    parameters: Float32Array,
    gradient: Float32Array,
    factors: (tensor: TrainableTensor) => AdamWFactors,
  ): void {
    this.tensors.forEach((tensor, i) => {
      const { offset, size } = tensor;
      const part = (moment: BlockwiseMoment): BlockwiseMoment => ({
        codes: moment.codes.subarray(offset, offset + size),
        absmax: moment.absmax.subarray(this.#firstBlock[i]),
      });
      adamW8bitStep(
        parameters.subarray(offset, offset + size),
        gradient.subarray(offset, offset + size),
        part(this.first),
        part(this.second),
        factors(tensor),
      );
    });
  }
}
