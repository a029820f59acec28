/** Handles of values in a graph under construction. */
import type { Graph } from './graph';
import type { Shape } from './shape';

export type FloatType = 'float32' | 'float64';
/** int64 occurs only as constants that ONNX demands (shapes, axes, slice bounds). */
export type DType = FloatType | 'int32' | 'int64' | 'bool';

/**
 * The vector-Jacobian product of one operation: given the gradient of the output, the gradients of
 * the inputs, in their order; undefined where the operation isn't differentiable.
 */
export type VectorJacobianProduct = (outputGradient: Tensor) => readonly (Tensor | undefined)[];

export interface Origin {
  readonly inputs: readonly Tensor[];
  readonly vjp: VectorJacobianProduct;
}

/**
 * An immutable handle: which value (by name), its type and static shape, and how gradients flow
 * through it. Two handles may name the same value with different gradient rules; that is how
 * composite operations bring their own derivative.
 */
export interface Tensor {
  readonly graph: Graph;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Creation order within the graph; inputs of an operation have smaller numbers. */
  readonly sequence: number;
  readonly origin: Origin | undefined;
}
