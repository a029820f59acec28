/** The MPO adapter of one module, whatever its cores start from. */
import type { Core } from '../core/mpo/types';
import {
  applyMpo,
  mergeMpo,
  type MpoLayout,
  productWithMpo,
  sequentialWins,
} from '../graph/layers/mpo';
import type { Tensor } from '../graph/graph';
import { dimension } from '../graph/shape';
import type {
  AdapterTensor,
  LinearModule,
  MergeUndo,
  ModuleAdapter,
  TensorLookup,
} from './adapter';
import type { CoreTraining } from './coreTraining';
import type { AdapterOptions } from './method';
import { add, sub } from '../graph/ops/elementwise';
import { gemm } from '../graph/ops/matmul';

/**
 * What the cores are to the weight:
 * - `implicit`: W + MPO(A) - MPO(A0), on the untouched weight;
 * - `explicit`: W_res + MPO(A) with W_res = W - MPO(A0) stored;
 * - `none`: W + MPO(A);
 * - `replace`: MPO(A) in place of W.
 */
export type ResidualForm = AdapterOptions['residual'] | 'none' | 'replace';

export interface MpoAdapterOptions {
  orientation: AdapterOptions['orientation'];
  form: ResidualForm;
  /** One for each core. */
  training: readonly CoreTraining[];
}

const coreName = (k: number): string => `mpo_cores.${k}`;
const initialCoreName = (k: number): string => `mpo_initial_cores.${k}`;

export class MpoAdapter implements ModuleAdapter {
  readonly module: LinearModule;
  readonly tensors: readonly AdapterTensor[];
  readonly signature: string;
  readonly subtractsInitialDelta: boolean;
  readonly #cores: readonly Core[];
  readonly #options: MpoAdapterOptions;
  readonly #layout: MpoLayout;

  constructor(module: LinearModule, cores: readonly Core[], options: MpoAdapterOptions) {
    const { orientation, form, training } = options;
    this.module = module;
    this.#cores = cores;
    this.#options = options;
    this.#layout = {
      orientation,
      outFeatures: module.outFeatures,
      inFeatures: module.inFeatures,
    };
    const current = cores.map(({ shape, data: initial }, k): AdapterTensor => ({
      name: coreName(k),
      shape,
      initial,
      trainable: training[k]?.trainable ?? true,
      learningRateFactor: training[k]?.learningRateFactor ?? 1,
    }));
    // A core that doesn't train is its own initial value.
    const initial = current
      .map((tensor, k) => ({ ...tensor, name: initialCoreName(k), trainable: false }))
      .filter((_, k) => current[k]?.trainable);
    this.tensors = form === 'implicit' ? [...current, ...initial] : current;
    this.subtractsInitialDelta = form === 'explicit';
    const shapes = current.map(
      ({ shape, trainable }) => `${shape.join('x')}${trainable ? '' : ' frozen'}`,
    );
    this.signature = `mpo ${orientation} ${form} ${shapes.join(' ')}`;
  }

  /** The product that stands in place of the weight says nothing of it: the change itself is kept. */
  get undo(): MergeUndo | undefined {
    if (this.#options.form !== 'replace') return undefined;
    return {
      kept: (tensor, weight) => this.delta(tensor, weight),
      restore: (_, merged, change) => sub(merged, change),
    };
  }

  explicit(): ModuleAdapter {
    if (this.#options.form !== 'implicit') return this;
    return new MpoAdapter(this.module, this.#cores, { ...this.#options, form: 'explicit' });
  }

  apply(x: Tensor, weight: Tensor, tensor: TensorLookup, sum?: Tensor): Tensor {
    const cores = this.#cores.map((_, k) => tensor(coreName(k)));
    if (this.#appliesSequentially(dimension(x.shape, 0))) {
      return add(gemm(x, weight, { transposeB: true }), applyMpo(x, cores, this.#layout));
    }
    const adapted =
      sum ??
      (this.#options.form === 'replace'
        ? this.#merge(tensor, coreName)
        : add(weight, this.delta(tensor, weight)));
    return productWithMpo(x, adapted, cores, this.#layout);
  }

  formsSum(tokens: number): boolean {
    return this.#options.form !== 'replace' && !this.#appliesSequentially(tokens);
  }

  /** A copy that is subtracted would have to go the same way, at twice the cost. */
  #appliesSequentially(tokens: number): boolean {
    const { form } = this.#options;
    const shapes = this.#cores.map(({ shape }) => shape);
    const single = form === 'explicit' || form === 'none';
    return single && sequentialWins(tokens, shapes, this.#layout);
  }

  delta(tensor: TensorLookup, weight: Tensor): Tensor {
    const current = this.#merge(tensor, coreName);
    switch (this.#options.form) {
      case 'implicit':
        return sub(
          current,
          this.#merge(tensor, (k) =>
            this.#options.training[k]?.trainable === false ? coreName(k) : initialCoreName(k),
          ),
        );
      case 'replace':
        return sub(current, weight);
      case 'explicit':
      case 'none':
        return current;
    }
  }

  #merge(tensor: TensorLookup, name: (k: number) => string): Tensor {
    return mergeMpo(
      this.#cores.map((_, k) => tensor(name(k))),
      this.#layout,
    );
  }
}
