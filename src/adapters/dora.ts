/**
 * DoRA (Liu et al., arXiv 2402.09353): the direction of W + scaling B A and a trainable magnitude
 * for each output feature. As in PEFT the norm takes no part in the gradient.
 */
import type {
  AdapterTensor,
  LinearModule,
  MergeUndo,
  ModuleAdapter,
  TensorLookup,
} from './adapter';
import type { Tensor } from '../graph/graph';
import { add, div, mul, sqrt, sub } from '../graph/ops/elementwise';
import { reduceSum, reshape } from '../graph/ops/broadcast';
import type { LoraAdapter } from './lora';

/** PEFT's name in a checkpoint. */
const magnitude = 'lora_magnitude_vector';

export class DoraAdapter implements ModuleAdapter {
  readonly module: LinearModule;
  readonly tensors: readonly AdapterTensor[];
  readonly signature: string;
  readonly subtractsInitialDelta = false;
  /** A merged row has its magnitude for a norm: the one before is kept. */
  readonly undo: MergeUndo = {
    kept: (lookup, weight) => this.#norm(add(weight, this.direction.delta(lookup))),
    restore: (lookup, merged, norm) => {
      const magnitudes = reshape(lookup(magnitude), norm.shape);
      return sub(mul(merged, div(norm, magnitudes)), this.direction.delta(lookup));
    },
  };

  private constructor(
    private readonly direction: LoraAdapter,
    magnitudes: Float32Array,
  ) {
    this.module = direction.module;
    this.signature = `dora ${direction.signature}`;
    this.tensors = [
      ...direction.tensors,
      {
        name: magnitude,
        shape: [magnitudes.length],
        initial: magnitudes,
        trainable: true,
        learningRateFactor: 1,
      },
    ];
  }

  /**
   * @param direction starts at zero
   * @param weight the pretrained weight `[out, in]`; its row norms are the magnitudes at step 0
   */
  static of(direction: LoraAdapter, weight: Float32Array): DoraAdapter {
    const { outFeatures, inFeatures } = direction.module;
    const magnitudes = Float32Array.from({ length: outFeatures }, (_, row) => {
      let energy = 0;
      for (let i = 0; i < inFeatures; i++) energy += (weight[row * inFeatures + i] as number) ** 2;
      return Math.sqrt(energy);
    });
    return new DoraAdapter(direction, magnitudes);
  }

  apply(x: Tensor, weight: Tensor, lookup: TensorLookup): Tensor {
    const factor = this.#factor(add(weight, this.direction.delta(lookup)), lookup);
    return mul(this.direction.apply(x, weight, lookup), factor);
  }

  delta(lookup: TensorLookup, weight: Tensor): Tensor {
    const directed = add(weight, this.direction.delta(lookup));
    const factor = reshape(this.#factor(directed, lookup), [this.module.outFeatures, 1]);
    return sub(mul(directed, factor), weight);
  }

  /** Magnitude over norm, `[1, out]`. */
  #factor(directed: Tensor, lookup: TensorLookup): Tensor {
    const detached = directed.graph.withOrigin(this.#norm(directed));
    const shape = [1, this.module.outFeatures];
    return div(reshape(lookup(magnitude), shape), reshape(detached, shape));
  }
  /** Of each row, `[out, 1]`. */
  #norm(directed: Tensor): Tensor {
    return sqrt(reduceSum(mul(directed, directed), [-1]));
  }
}
