/** AdamW and the gradient's norm on flat vectors. */
import { type BuiltGraph, Graph } from '../graph';
import { add, div, mul, sqrt, sub } from '../ops/elementwise';
import { sumOfSquares } from '../ops/reduce';

/** The scalars of one update, each an input `[1]`. */
export const adamWScalars = [
  /** min(1, maxGradNorm / (norm + 1e-6)), or 1. */
  'clip',
  /** 1 - learningRate * weightDecay */
  'decay',
  'beta2',
  /** 1 - beta1 */
  'rate1',
  /** 1 - beta2 */
  'rate2',
  /** learningRate / (1 - beta1^step) */
  'step_size',
  /** sqrt(1 - beta2^step) */
  'correction2',
  'epsilon',
] as const;
export type AdamWScalar = (typeof adamWScalars)[number];

/**
 * One AdamW step with decoupled weight decay (Loshchilov & Hutter 2019) in the order of operations
 * of PyTorch's `torch.optim.AdamW`, so that results agree to rounding. All arithmetic is
 * elementwise: outputs may be written over the inputs.
 */
export function buildAdamW(length: number): BuiltGraph {
  const graph = new Graph();
  const vector = (name: string) => graph.input(name, 'float32', [length]);
  const scalar = (name: AdamWScalar) => graph.input(name, 'float32', [1]);

  const parameters = mul(vector('parameters'), scalar('decay'));
  const gradient = mul(vector('gradient'), scalar('clip'));
  const first = vector('first_moment');
  const nextFirst = add(first, mul(sub(gradient, first), scalar('rate1')));
  const nextSecond = add(
    mul(vector('second_moment'), scalar('beta2')),
    mul(mul(gradient, gradient), scalar('rate2')),
  );
  const denominator = add(div(sqrt(nextSecond), scalar('correction2')), scalar('epsilon'));
  const update = mul(div(nextFirst, denominator), scalar('step_size'));

  graph.output('next_parameters', sub(parameters, update));
  graph.output('next_first_moment', nextFirst);
  graph.output('next_second_moment', nextSecond);
  return graph.build();
}

/** `gradient [length]` -> `sum_of_squares []`. */
export function buildSumOfSquares(length: number): BuiltGraph {
  const graph = new Graph();
  graph.output('sum_of_squares', sumOfSquares(graph.input('gradient', 'float32', [length])));
  return graph.build();
}
