/** Reading and adding at places that are known only at run time. */
import type { Tensor } from '../graph';
import { reshape } from './broadcast';
import { cast } from './elementwise';

/**
 * Entries of a table's first axis, at every index: `[n, ...rest]` by `[...indices]` gives
 * `[...indices, ...rest]`. Not differentiable.
 */
export function lookUp(table: Tensor, indices: Tensor): Tensor {
  return table.graph.node('Gather', [table, indices], [...indices.shape, ...table.shape.slice(1)], {
    attributes: [{ name: 'axis', int: 0 }],
  });
}

/** Rows of a matrix: `table [rows, width]`, `indices int32 [count]` -> `[count, width]`. */
export function gatherRows(table: Tensor, indices: Tensor): Tensor {
  const { graph } = table;
  return graph.withOrigin(lookUp(table, indices), {
    inputs: [table, indices],
    vjp: (dy) => [scatterAddRows(graph.zeros(table.dtype, table.shape), indices, dy), undefined],
  });
}

/** `base [rows, width]` with `updates [count, width]` added at row `indices[i]`; repeats add up. */
export function scatterAddRows(base: Tensor, indices: Tensor, updates: Tensor): Tensor {
  const { graph } = base;
  // Each index, which ScatterND takes as int64, is a whole row; reshaped before, as int64 has few
  // kernels on a GPU.
  const column = cast(reshape(indices, [...indices.shape, 1]), 'int64');
  return graph.node('ScatterND', [base, column, updates], base.shape, {
    attributes: [{ name: 'reduction', string: 'add' }],
  });
}

/** One element of each row: `x [rows, width]`, `columns [rows, 1]` -> `[rows, 1]`. */
export function pickColumns(x: Tensor, columns: Tensor): Tensor {
  return x.graph.node('GatherElements', [x, columns], columns.shape, {
    attributes: [{ name: 'axis', int: 1 }],
    origin: {
      inputs: [x, columns],
      vjp: (dy) => [addToColumns(x.graph.zeros(x.dtype, x.shape), columns, dy), undefined],
    },
  });
}

/** `x [rows, width]` with `updates [rows, 1]` added at the given column of each row. */
export function addToColumns(x: Tensor, columns: Tensor, updates: Tensor): Tensor {
  return x.graph.node('ScatterElements', [x, columns, updates], x.shape, {
    attributes: [
      { name: 'axis', int: 1 },
      { name: 'reduction', string: 'add' },
    ],
  });
}
