import type { Tensor } from '../graph/graph';
import { add } from '../graph/ops/elementwise';
import { gemm } from '../graph/ops/matmul';
import type { AdapterTensor, LinearModule, ModuleAdapter, TensorLookup } from './adapter';

const change = 'weight_change';

/** A dense change of the weight that is zero: its gradient is that of the full weight. */
export class WeightProbe implements ModuleAdapter {
  readonly signature = 'probe';
  readonly subtractsInitialDelta = false;
  readonly tensors: readonly AdapterTensor[];

  constructor(readonly module: LinearModule) {
    const { outFeatures, inFeatures } = module;
    this.tensors = [
      {
        name: change,
        shape: [outFeatures, inFeatures],
        initial: new Float32Array(outFeatures * inFeatures),
        trainable: true,
        learningRateFactor: 1,
      },
    ];
  }

  apply(x: Tensor, weight: Tensor, tensor: TensorLookup): Tensor {
    return gemm(x, add(weight, tensor(change)), { transposeB: true });
  }

  delta(tensor: TensorLookup): Tensor {
    return tensor(change);
  }
}
