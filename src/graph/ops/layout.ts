/** Operations that move elements without arithmetic. */
import { dimension, formatShape, sameShape, type Shape, sizeOf } from '../shape';
import type { Tensor } from '../graph';
import { reshape } from './broadcast';

export function transpose(x: Tensor, permutation: readonly number[]): Tensor {
  const inverse = permutation.map((_, axis) => permutation.indexOf(axis));
  if (permutation.length !== x.shape.length || inverse.includes(-1)) {
    throw new Error(`${formatShape(permutation)} does not permute ${formatShape(x.shape)}`);
  }
  return x.graph.node(
    'Transpose',
    [x],
    permutation.map((axis) => dimension(x.shape, axis)),
    {
      attributes: [{ name: 'perm', ints: permutation }],
      origin: { inputs: [x], vjp: (dy) => [transpose(dy, inverse)] },
    },
  );
}

/** Swaps the last two axes. */
export function transposeLast(x: Tensor): Tensor {
  const rank = x.shape.length;
  return transpose(
    x,
    x.shape.map((_, axis) => (axis === rank - 2 ? rank - 1 : axis === rank - 1 ? rank - 2 : axis)),
  );
}

/** Elements start .. end - 1 along each axis. */
export function slice(x: Tensor, start: readonly number[], end: readonly number[]): Tensor {
  const shape = x.shape.map((_, axis) => (end[axis] as number) - (start[axis] as number));
  if (sameShape(shape, x.shape)) return x;
  const axes = x.shape.map((_, axis) => axis);
  const { graph } = x;
  return graph.node(
    'Slice',
    [x, ...[start, end, axes].map((list) => graph.integers(list))],
    shape,
    {
      origin: {
        inputs: [x],
        vjp: (dy) => [
          pad(
            dy,
            start,
            x.shape.map((size, axis) => size - (end[axis] as number)),
          ),
        ],
      },
    },
  );
}

/** Adds zeros before and after along each axis. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[]): Tensor {
  const shape = x.shape.map(
    (size, axis) => (before[axis] as number) + size + (after[axis] as number),
  );
  if (sameShape(shape, x.shape)) return x;
  return x.graph.node('Pad', [x, x.graph.integers([...before, ...after])], shape, {
    origin: {
      inputs: [x],
      vjp: (dy) => [
        slice(
          dy,
          before,
          x.shape.map((size, axis) => (before[axis] as number) + size),
        ),
      ],
    },
  });
}

export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const first = parts[0] as Tensor;
  const along = axis < 0 ? first.shape.length + axis : axis;
  const sizes = parts.map((part) => dimension(part.shape, along));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const shape = first.shape.map((size, i) => (i === along ? total : size));
  return first.graph.node('Concat', parts, shape, {
    attributes: [{ name: 'axis', int: along }],
    origin: {
      inputs: parts,
      vjp: (dy) => {
        let offset = 0;
        return sizes.map((size) => {
          const start = shape.map((_, i) => (i === along ? offset : 0));
          offset += size;
          return slice(
            dy,
            start,
            shape.map((full, i) => (i === along ? offset : full)),
          );
        });
      },
    },
  });
}

/**
 * One vector of all elements of all tensors, in order. The CPU provider computes the inputs of the
 * concatenation in the order of their nodes: they are made last tensor first, so that of a block's
 * parameters those used last come first, and each layer's gradients let go of what they needed before
 * the backward pass goes on to the layer below.
 */
export function flatten(tensors: readonly Tensor[]): Tensor {
  const vectors = tensors
    .toReversed()
    .map((tensor) => reshape(tensor, [sizeOf(tensor.shape)]))
    .toReversed();
  return vectors.length === 1 ? (vectors[0] as Tensor) : concat(vectors, 0);
}

/**
 * Cuts a flat vector into tensors. One slice each and not one Split: a GPU kernel that writes many
 * outputs exceeds the number of buffers that a shader may have.
 */
export function unflatten(flat: Tensor, shapes: readonly Shape[]): Tensor[] {
  const sizes = shapes.map(sizeOf);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (!sameShape(flat.shape, [total])) {
    throw new Error(`${formatShape(flat.shape)} does not hold ${total} elements`);
  }
  let offset = 0;
  return shapes.map((shape, i) => {
    const start = offset;
    offset += sizes[i] as number;
    return reshape(slice(flat, [start], [offset]), shape);
  });
}
