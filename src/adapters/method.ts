/** A fine-tuning method: how it attaches to one linear layer. */
import type { RunConfig } from '../config/runConfig';
import type { Gemm } from '../core/gemm';
import type { Core } from '../core/mpo/types';
import type { LinearModule, ModuleAdapter } from './adapter';

export type AdapterOptions = RunConfig['adapter'];

export interface AttachContext {
  options: AdapterOptions;
  seed: number;
  /** The pretrained weight, `[out, in]`. */
  weight: (module: LinearModule) => Promise<Float32Array>;
  /**
   * Cores at step 0 that are known already (a resumed run); where undefined, the weight is
   * decomposed.
   */
  initialCores?: ((module: LinearModule) => readonly Core[] | undefined) | undefined;
  /** Gradient of the full weight, `[out, in]`, for `init_weights: "gradient"`. */
  gradient?: ((module: LinearModule) => Promise<Float32Array>) | undefined;
  /** Set where what the method leaves frozen is stored in NF4. */
  quantization?: { doubleQuantization: boolean; rounds: number } | undefined;
  gemm: Gemm;
}

export interface AdapterMethod {
  /** One sentence for people who choose among the methods. */
  readonly help: string;
  /**
   * Looks at all chosen modules before the first is attached.
   * @throws DotaError `adapter.rank`, `adapter.shape`
   */
  validate?(modules: readonly LinearModule[], options: AdapterOptions): void;
  /** @throws DotaError `adapter.rank`, `adapter.shape` */
  attach(module: LinearModule, context: AttachContext): Promise<ModuleAdapter>;
  /**
   * How many parameters `attach` would train in a module, from its shape alone. (A weight of lower
   * rank than the bonds gives fewer.)
   * @throws DotaError `adapter.rank`, `adapter.shape`
   */
  trainableCount(module: LinearModule, options: AdapterOptions): number;
}
