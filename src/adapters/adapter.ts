/** What a fine-tuning method provides for one linear layer. */
import type { LinearPath } from '../graph/decoder/block';
import type { Tensor } from '../graph/graph';

/** A linear layer of the model. */
export interface LinearModule {
  /** Full path, e.g. `model.layers.0.self_attn.q_proj`. */
  path: string;
  layer: number;
  /** Path inside the block, e.g. `self_attn.q_proj`. */
  pathInBlock: LinearPath;
  outFeatures: number;
  inFeatures: number;
}

export interface AdapterTensor {
  /** Name after the module's path, e.g. `mpo_cores.0`. */
  name: string;
  shape: readonly number[];
  /** Value at step 0. */
  initial: Float32Array;
  /** Frozen tensors take part in the arithmetic, but have no gradient and are not saved. */
  trainable: boolean;
  learningRateFactor: number;
}

/** Looks up one of the adapter's tensors by its name. */
export type TensorLookup = (name: string) => Tensor;

/** Undoes a merge where the change can't be told from the merged weight and the adapter's tensors. */
export interface MergeUndo {
  /**
   * What has to be kept when the change is merged.
   * @param weight `[out, in]`, the one that `apply` takes
   */
  kept(tensor: TensorLookup, weight: Tensor): Tensor;
  /** The weight that `apply` takes, from the merged one and what was kept, `[out, in]`. */
  restore(tensor: TensorLookup, merged: Tensor, kept: Tensor): Tensor;
}

/** The adapter of one linear layer. */
export interface ModuleAdapter {
  readonly module: LinearModule;
  readonly tensors: readonly AdapterTensor[];
  /**
   * Blocks whose adapters have equal signatures share their compiled graphs: everything that
   * `apply` depends on beside the tensors' values.
   */
  readonly signature: string;
  /**
   * True when `apply` expects `W - delta(initial tensors)` in place of the pretrained weight
   * (explicit residual).
   */
  readonly subtractsInitialDelta: boolean;
  /**
   * Whether `apply` to so many tokens is the product with `weight + delta`, so that forming the sum
   * beforehand saves memory: an engine may put it in place of the weight. Never, where absent.
   */
  formsSum?(tokens: number): boolean;
  /**
   * The same function on `W - delta(initial tensors)`, with fewer operations a step: for an engine
   * that holds a copy of the weight of its own. Itself, or absent, where there is no such form.
   */
  explicit?(): ModuleAdapter;
  /**
   * The adapted product without bias.
   * @param x `[tokens, in]`
   * @param weight `[out, in]`
   * @param sum `weight + delta`, where an engine has formed it (see `formsSum`); gradients reach the
   *   adapter's tensors as if it had been formed here
   * @returns `[tokens, out]`
   */
  apply(x: Tensor, weight: Tensor, tensor: TensorLookup, sum?: Tensor): Tensor;
  /**
   * What the tensors add to the `weight` that `apply` takes, dense, `[out, in]`. At step 0 of an
   * adapter that `subtractsInitialDelta` it may not depend on the weight.
   */
  delta(tensor: TensorLookup, weight: Tensor): Tensor;
  /** Absent where `delta` does not depend on the weight: then it is subtracted. */
  readonly undo?: MergeUndo;
}

/** Which modules are adapted, and how. */
export interface AdapterPlan {
  /** True when the base weights themselves train (full fine-tuning and pretraining). */
  trainsBaseWeights: boolean;
  /** By module path. */
  modules: ReadonlyMap<string, ModuleAdapter>;
}

/** All weights train, embeddings and norms included; there is nothing to add. */
export const fullPlan: AdapterPlan = { trainsBaseWeights: true, modules: new Map() };
