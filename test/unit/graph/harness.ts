/** Runs graphs and compares gradients with central differences. */
import { expect } from 'vitest';
import { gradients } from '../../../src/graph/gradients';
import { Graph } from '../../../src/graph/graph';
import { sizeOf, type Shape } from '../../../src/graph/shape';
import type { FloatType } from '../../../src/graph/dtype';
import type { Tensor } from '../../../src/graph/graph';
import { openDevice } from '../../../src/trainer/ort/device';
import { hostArray, type HostArray, type HostArrays } from '../../../src/trainer/ort/values';
import { Rng } from '../../../src/core/rng';

const device = openDevice({ kind: 'cpu', threads: 1 });

export async function runGraph(
  graph: Graph,
  feeds: HostArrays,
): Promise<Record<string, HostArray>> {
  const session = await device.compile(graph.build());
  try {
    const results = await session.run(feeds);
    return Object.fromEntries(
      Object.entries(results).map(([name, value]) => [name, hostArray(value)]),
    );
  } finally {
    await session.release();
  }
}

export interface FloatInput {
  shape: Shape;
  /** Random Gaussian values unless given. */
  values?: readonly number[];
}

/**
 * Builds `sum(operation(inputs) * weights)` with random weights in float64 and compares every
 * input's gradient with central differences.
 *
 * Tolerance: with step h = 1e-5 the truncation error is h^2 f'''/6, about 1e-11, and rounding
 * contributes eps/h, about 1e-11 of the function's value; 1e-6 relative leaves room for functions
 * with larger third derivatives while a wrong rule is off by far more.
 */
export async function checkGradient(
  inputs: Readonly<Record<string, FloatInput>>,
  operation: (tensors: Readonly<Record<string, Tensor>>, graph: Graph) => Tensor,
): Promise<void> {
  const rng = new Rng(7, 'gradient check');
  const feeds: Record<string, Float64Array> = {};
  for (const [name, { shape, values }] of Object.entries(inputs)) {
    feeds[name] = Float64Array.from(
      values ?? Array.from({ length: sizeOf(shape) }, () => rng.normal()),
    );
  }
  const declare = (dtype: FloatType) => {
    const graph = new Graph();
    const tensors = Object.fromEntries(
      Object.entries(inputs).map(([name, { shape }]) => [name, graph.input(name, dtype, shape)]),
    );
    return { graph, tensors, output: operation(tensors, graph) };
  };

  const forward = declare('float64');
  const { shape } = forward.output;
  forward.graph.output('output', forward.output);
  const weights = Float64Array.from({ length: sizeOf(shape) }, () => rng.normal());
  const session = await device.compile(forward.graph.build());
  const objective = async (point: HostArrays): Promise<number> => {
    const { output } = await session.run(point);
    return (output as Float64Array).reduce((sum, value, i) => sum + value * weights[i]!, 0);
  };

  const backward = declare('float64');
  const seed = backward.graph.input('seed', 'float64', shape);
  const names = Object.keys(inputs);
  const targets = names.map((name) => backward.tensors[name]!);
  gradients([{ output: backward.output, gradient: seed }], targets).forEach((gradient, i) =>
    backward.graph.output(`gradient.${names[i]!}`, gradient),
  );
  const analytic = await runGraph(backward.graph, { ...feeds, seed: weights });

  const h = 1e-5;
  for (const name of names) {
    const point = feeds[name]!;
    const numeric = new Float64Array(point.length);
    for (let i = 0; i < point.length; i++) {
      const shifted = async (by: number) =>
        objective({ ...feeds, [name]: point.map((value, k) => (k === i ? value + by : value)) });
      numeric[i] = ((await shifted(h)) - (await shifted(-h))) / (2 * h);
    }
    expect(
      relativeError(analytic[`gradient.${name}`]!, numeric),
      `gradient of ${name}`,
    ).toBeLessThan(1e-6);
  }
  await session.release();
}

/** ||a - b|| / ||b|| */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`lengths ${a.length} and ${b.length} differ`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
