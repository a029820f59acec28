/** The MPO adapter of one module, whatever its cores start from. */
import type { Core } from '../core/mpo/types';
import { mergeMpo, type MpoLayout } from '../graph/layers/mpo';
import type { Tensor } from '../graph/graph';
import type { AdapterTensor, LinearModule, ModuleAdapter, TensorLookup } from './adapter';
import type { AdapterOptions } from './method';
import { add, sub } from '../graph/ops/elementwise';
import { gemm } from '../graph/ops/matmul';

/**
 * What keeps step 0 equal to the pretrained model:
 * - `implicit`: W + MPO(A) - MPO(A0), on the untouched weight;
 * - `explicit`: W_res + MPO(A) with W_res = W - MPO(A0) stored;
 * - `none`: W + MPO(A) where MPO(A0) is zero.
 */
export type ResidualForm = AdapterOptions['residual'] | 'none';

const coreName = (k: number): string => `mpo_cores.${k}`;
const initialCoreName = (k: number): string => `mpo_initial_cores.${k}`;

export class MpoAdapter implements ModuleAdapter {
  readonly module: LinearModule;
  readonly tensors: readonly AdapterTensor[];
  readonly signature: string;
  readonly subtractsInitialDelta: boolean;
  readonly #cores: readonly Core[];
  readonly #form: ResidualForm;
  readonly #layout: MpoLayout;

  constructor(
    module: LinearModule,
    cores: readonly Core[],
    orientation: AdapterOptions['orientation'],
    form: ResidualForm,
  ) {
    this.module = module;
    this.#cores = cores;
    this.#form = form;
    this.#layout = {
      orientation,
      outFeatures: module.outFeatures,
      inFeatures: module.inFeatures,
    };
    const trainable = cores.map((core, k) => adapterTensor(coreName(k), core, true));
    const frozen = cores.map((core, k) => adapterTensor(initialCoreName(k), core, false));
    this.tensors = form === 'implicit' ? [...trainable, ...frozen] : trainable;
    this.subtractsInitialDelta = form === 'explicit';
    const shapes = cores.map(({ shape }) => shape.join('x')).join(' ');
    this.signature = `mpo ${orientation} ${form} ${shapes}`;
  }

  explicit(): ModuleAdapter {
    if (this.#form !== 'implicit') return this;
    return new MpoAdapter(this.module, this.#cores, this.#layout.orientation, 'explicit');
  }

  apply(x: Tensor, weight: Tensor, tensor: TensorLookup): Tensor {
    return gemm(x, add(weight, this.delta(tensor)), { transposeB: true });
  }

  delta(tensor: TensorLookup): Tensor {
    const merge = (name: (k: number) => string): Tensor =>
      mergeMpo(
        this.#cores.map((_, k) => tensor(name(k))),
        this.#layout,
      );
    const current = merge(coreName);
    return this.#form === 'implicit' ? sub(current, merge(initialCoreName)) : current;
  }
}

function adapterTensor(name: string, core: Core, trainable: boolean): AdapterTensor {
  return { name, shape: core.shape, initial: core.data, trainable, learningRateFactor: 1 };
}
