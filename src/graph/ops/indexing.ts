/** Look-ups by int32 indices. */
import { dimension } from '../shape';
import type { Tensor } from '../graph';

/** Rows of `table [rows, width]`: `[count, width]` for `indices [count]`. */
export function gatherRows(table: Tensor, indices: Tensor): Tensor {
  const count = dimension(indices.shape, 0);
  const width = dimension(table.shape, 1);
  const { graph } = table;
  return graph.node('Gather', [table, indices], [count, width], {
    attributes: [{ name: 'axis', int: 0 }],
    origin: {
      inputs: [table, indices],
      vjp: (dy) => [scatterAddRows(graph.zeros(table.dtype, table.shape), indices, dy), undefined],
    },
  });
}

/** `base [rows, width]` with `updates [count, width]` added at row `indices[i]`; repeats add up. */
export function scatterAddRows(base: Tensor, indices: Tensor, updates: Tensor): Tensor {
  const { graph } = base;
  const column = graph.node('Unsqueeze', [indices, graph.integers([1])], [...indices.shape, 1]);
  const wide = graph.node('Expand', [column, graph.integers(updates.shape)], updates.shape);
  return graph.node('ScatterElements', [base, wide, updates], base.shape, {
    attributes: [
      { name: 'axis', int: 0 },
      { name: 'reduction', string: 'add' },
    ],
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
