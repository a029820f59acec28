/** Reverse-mode differentiation by emitting more nodes into the same graph. */
import { formatShape, sameShape } from './shape';
import type { Tensor } from './graph';
import { add } from './ops/elementwise';

export interface Seed {
  output: Tensor;
  /** d(objective)/d(output), of the output's shape. */
  gradient: Tensor;
}

/**
 * Gradients of sum(seed.gradient * seed.output) with respect to `targets`, in their order.
 * Operations that no target feeds are not visited; what is emitted in vain is dropped by `build`.
 */
export function gradients(seeds: readonly Seed[], targets: readonly Tensor[]): Tensor[] {
  const dependent = dependsOn(
    seeds.map((seed) => seed.output),
    new Set(targets),
  );
  const accumulated = new Map<Tensor, Tensor>();
  const accumulate = (tensor: Tensor, gradient: Tensor): void => {
    if (!sameShape(tensor.shape, gradient.shape)) {
      throw new Error(
        `gradient ${formatShape(gradient.shape)} of a tensor ${formatShape(tensor.shape)}`,
      );
    }
    const known = accumulated.get(tensor);
    accumulated.set(tensor, known ? add(known, gradient) : gradient);
  };
  for (const { output, gradient } of seeds) accumulate(output, gradient);
  // Descending creation order is a reverse topological order.
  for (const tensor of [...dependent].sort((a, b) => b.sequence - a.sequence)) {
    const gradient = accumulated.get(tensor);
    if (!gradient || !tensor.origin) continue;
    const inputGradients = tensor.origin.vjp(gradient);
    for (const [i, input] of tensor.origin.inputs.entries()) {
      const inputGradient = inputGradients[i];
      if (inputGradient && dependent.has(input)) accumulate(input, inputGradient);
    }
  }
  return targets.map((target) => {
    const gradient = accumulated.get(target);
    if (!gradient) throw new Error(`no gradient reaches ${target.name}`);
    return gradient;
  });
}

/** The tensors between outputs and targets, both included, through which a target is reached. */
function dependsOn(outputs: readonly Tensor[], targets: ReadonlySet<Tensor>): Set<Tensor> {
  const reaches = new Map<Tensor, boolean>();
  const visit = (tensor: Tensor): boolean => {
    const known = reaches.get(tensor);
    if (known !== undefined) return known;
    let result = targets.has(tensor);
    for (const input of tensor.origin?.inputs ?? []) {
      if (visit(input)) result = true;
    }
    reaches.set(tensor, result);
    return result;
  };
  outputs.forEach(visit);
  return new Set([...reaches].filter(([, result]) => result).map(([tensor]) => tensor));
}
