/** AdamW and the gradient's norm on flat vectors. */
import { type BuiltGraph, Graph, type Tensor } from '../graph';
import { expand, reshape } from '../ops/broadcast';
import { add, div, mul, sqrt, sub } from '../ops/elementwise';
import { concat } from '../ops/layout';
import { sumOfSquares } from '../ops/reduce';

/** The scalars that one update has in common, each an input `[1]`. */
export const adamWScalars = [
  /** min(1, maxGradNorm / (norm + 1e-6)), or 1. */
  'clip',
  'beta2',
  /** 1 - beta1 */
  'rate1',
  /** 1 - beta2 */
  'rate2',
  /** sqrt(1 - beta2^step) */
  'correction2',
  'epsilon',
] as const;
export type AdamWScalar = (typeof adamWScalars)[number];

/**
 * Scalars of each run of parameters that are updated alike, inputs `decay.0 [1]` and so on:
 * `decay` = 1 - learningRate * weightDecay, `step_size` = learningRate / (1 - beta1^step).
 */
export const adamWRunScalars = ['decay', 'step_size'] as const;
export type AdamWRunScalar = (typeof adamWRunScalars)[number];
export const runScalar = (name: AdamWRunScalar, run: number): string => `${name}.${run}`;

/**
 * One AdamW step with decoupled weight decay (Loshchilov & Hutter 2019) in the order of operations
 * of PyTorch's `torch.optim.AdamW`, so that results agree to rounding. With one run all arithmetic is
 * elementwise: outputs may be written over the inputs.
 * @param runs lengths of the runs, in their order
 */
export function buildAdamW(runs: readonly number[]): BuiltGraph {
  const graph = new Graph();
  const length = runs.reduce((sum, run) => sum + run, 0);
  const vector = (name: string) => graph.input(name, 'float32', [length]);
  const scalar = (name: AdamWScalar) => graph.input(name, 'float32', [1]);
  const perRun = (name: AdamWRunScalar): Tensor => {
    const values = runs.map((_, run) => graph.input(runScalar(name, run), 'float32', [1]));
    if (values.length === 1) return values[0] as Tensor;
    return concat(
      values.map((value, run) => expand(value, [runs[run] as number])),
      0,
    );
  };

  const parameters = mul(vector('parameters'), perRun('decay'));
  const gradient = mul(vector('gradient'), scalar('clip'));
  const first = vector('first_moment');
  const nextFirst = add(first, mul(sub(gradient, first), scalar('rate1')));
  const nextSecond = add(
    mul(vector('second_moment'), scalar('beta2')),
    mul(mul(gradient, gradient), scalar('rate2')),
  );
  const denominator = add(div(sqrt(nextSecond), scalar('correction2')), scalar('epsilon'));
  const update = mul(div(nextFirst, denominator), perRun('step_size'));

  graph.output('next_parameters', sub(parameters, update));
  graph.output('next_first_moment', nextFirst);
  graph.output('next_second_moment', nextSecond);
  return graph.build();
}

/** `gradient [length]`, `sum [1]` -> `next_sum [1]`, with the squares added. */
export function buildSumOfSquares(length: number): BuiltGraph {
  const graph = new Graph();
  const squares = sumOfSquares(graph.input('gradient', 'float32', [length]));
  graph.output('next_sum', add(graph.input('sum', 'float32', [1]), reshape(squares, [1])));
  return graph.build();
}

/** `value [1]` -> `vector [length]`, everywhere that value. */
export function buildFill(length: number): BuiltGraph {
  const graph = new Graph();
  graph.output('vector', expand(graph.input('value', 'float32', [1]), [length]));
  return graph.build();
}
