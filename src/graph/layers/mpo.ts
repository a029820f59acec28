/**
 * A matrix product operator in a graph: merged to a dense matrix, whose gradient goes on to the cores by
 * parts, or applied to the activations in two halves; `sequentialWins` says which is cheaper.
 */
import { dimension } from '../shape';
import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { add } from '../ops/elementwise';
import { concat, flatten, pad, slice, transpose, unflatten } from '../ops/layout';
import { gemm, leftMatmul, matmul } from '../ops/matmul';

export interface MpoLayout {
  /** Which side of `[out, in]` the cores' first physical leg runs over. */
  orientation: 'out' | 'in';
  outFeatures: number;
  inFeatures: number;
}

/**
 * Measured on two x64 cores over matrices of 512 to 4096, ranks 4 to 16 and 64 to 1024 tokens (see
 * docs/performance.md): an operation in the thin products of `applyMpo` takes up to three times as long
 * as in a dense one, and writing and reading the dense change costs as much as 512 operations an entry.
 */
const SEQUENTIAL_SLOWDOWN = 3;
const DENSE_TRAFFIC = 512;

/**
 * The dense matrix `[outFeatures, inFeatures]` of a chain of cores `[d_{k-1}, i_k, j_k, d_k]`.
 * Zero-padded rows and columns, where the factors' product exceeds the size, are cut off.
 */
export function mergeMpo(cores: readonly Tensor[], layout: MpoLayout): Tensor {
  const { left, right } = denseHalves(cores, layout);
  return slice(joinHalves(left, right), [0, 0], [layout.outFeatures, layout.inFeatures]);
}

/**
 * `x weight^T`, where the weight is a sum of which `MPO(cores)` is one part and the only one that trains.
 * The dense gradient is formed a few of the first leg's rows at a time and goes on to the two halves of the
 * chain at once, so that it and its permuted copy are never both there as a whole.
 * @param x `[tokens, inFeatures]`
 * @param weight `[outFeatures, inFeatures]`
 * @returns `[tokens, outFeatures]`
 */
export function productWithMpo(
  x: Tensor,
  weight: Tensor,
  cores: readonly Tensor[],
  layout: MpoLayout,
): Tensor {
  const { left, right } = denseHalves(cores, layout);
  return x.graph.withOrigin(gemm(x, weight, { transposeB: true }), {
    inputs: [x, left, right],
    vjp: (dy) => [gemm(dy, weight), ...gradientByRows(dy, x, left, right)],
  });
}

/** Bytes of the rows that are formed at a time, unless that took more than `MAX_PARTS` parts. */
const PART_BYTES = 2 ** 22;
/** Each part is some ten nodes more in a graph that has seven such layers. */
const MAX_PARTS = 8;

/**
 * Of the first leg's rows so many at a time. In equal parts where that is possible: the runtime plans to
 * use a part's memory for the next one of the same shape, and keeps it over those of other shapes until then.
 * @param bytes of all rows
 */
function rowsPerPart(rows: number, bytes: number): number {
  const most = Math.min(rows, MAX_PARTS);
  const fewest = Math.min(most, Math.ceil(bytes / PART_BYTES));
  for (let parts = fewest; parts <= most; parts++) {
    if (rows % parts === 0) return rows / parts;
  }
  return Math.ceil(rows / fewest);
}

/**
 * Gradients of the halves from those of the product, `[tokens, outFeatures]`. The dense gradient `dy^T x` takes one
 * of its operands transposed, which the CPU's products would do anew for every 128 columns: the narrower one is
 * transposed before, and layers that share x share that.
 */
function gradientByRows(dy: Tensor, x: Tensor, left: Tensor, right: Tensor): [Tensor, Tensor] {
  const [rows1, cols1] = left.shape as [number, number, number];
  const [rows2, , cols2] = right.shape as [number, number, number];
  // Zeros where the factors' products exceed the sizes.
  const padded = (values: Tensor, columns: number): Tensor =>
    pad(values, [0, 0], [0, columns - dimension(values.shape, 1)]);
  const wide = padded(dy, rows1 * rows2);
  const columns = padded(x, cols1 * cols2);
  const perPart = rowsPerPart(rows1, 4 * rows1 * rows2 * cols1 * cols2);
  const tokens = dimension(x.shape, 0);
  const turned = dimension(columns.shape, 1) <= dimension(wide.shape, 1);
  const transposed = turned ? transposedMatrix(columns, cols2) : transposedMatrix(wide, rows2);
  const gradients = Array.from(
    { length: Math.ceil(rows1 / perPart) },
    (_, part): [Tensor, Tensor] => {
      const from = part * perPart;
      const to = Math.min(rows1, from + perPart);
      const dense = turned
        ? gemm(transposed, slice(wide, [0, from * rows2], [tokens, to * rows2]))
        : gemm(slice(transposed, [from * rows2, 0], [to * rows2, tokens]), columns);
      const [, cols, bond] = left.shape as [number, number, number];
      const some = slice(left, [from, 0, 0], [to, cols, bond]);
      const both = halfGradients(dense, some, right, turned);
      // Through one tensor: else the runtime may compute one of the two much later than the other, and keep
      // the dense rows for it until then.
      const shapes = both.map(({ shape }) => shape);
      return unflatten(flatten(both), shapes) as [Tensor, Tensor];
    },
  );
  const [first, ...others] = gradients as [[Tensor, Tensor], ...[Tensor, Tensor][]];
  return [
    concat(
      gradients.map(([dLeft]) => dLeft),
      0,
    ),
    others.reduce((sum, [, dRight]) => add(sum, dRight), first[1]),
  ];
}

/**
 * `[columns, rows]` of `[rows, columns]`, through three axes: a transposition of two the runtime makes a part of the
 * product again.
 * @param last a factor of the columns
 */
function transposedMatrix(x: Tensor, last: number): Tensor {
  const [rows, columns] = x.shape as [number, number];
  const legs = reshape(x, [rows, columns / last, last]);
  return reshape(transpose(legs, [1, 2, 0]), [columns, rows]);
}

/**
 * Two plain products with the gradient as `[I1 J1, I2 J2]`, in which the chain has rank r. (Those of the
 * batched product that joins the halves would hold r J2 or J1 r numbers for each row, more than the dense
 * matrix has, and sum them.)
 * @param dense the gradient of the joined halves, `[I1 I2, J1 J2]`
 * @param turned whether it is `[J1 J2, I1 I2]`, which goes as `[J1 I1, J2 I2]`
 */
function halfGradients(
  dense: Tensor,
  left: Tensor,
  right: Tensor,
  turned = false,
): [Tensor, Tensor] {
  const [i1, j1, bond] = left.shape as [number, number, number];
  const [i2, , j2] = right.shape as [number, number, number];
  const [rows1, cols1, rows2, cols2] = turned ? [j1, i1, j2, i2] : [i1, j1, i2, j2];
  const legs = transpose(reshape(dense, [rows1, rows2, cols1, cols2]), [0, 2, 1, 3]);
  const paired = reshape(legs, [rows1 * cols1, rows2 * cols2]);
  const turn = (half: Tensor): Tensor => (turned ? transpose(half, [1, 0, 2]) : half);
  const flatLeft = reshape(turn(left), [rows1 * cols1, bond]);
  const flatRight = reshape(transpose(right, turned ? [1, 2, 0] : [1, 0, 2]), [
    bond,
    rows2 * cols2,
  ]);
  const dLeft = gemm(paired, flatRight, { transposeB: true });
  const dRight = gemm(flatLeft, paired, { transposeA: true });
  return [
    turn(reshape(dLeft, [rows1, cols1, bond])),
    transpose(reshape(dRight, [bond, rows2, cols2]), turned ? [2, 0, 1] : [1, 0, 2]),
  ];
}

function denseHalves(
  cores: readonly Tensor[],
  { orientation }: MpoLayout,
): { left: Tensor; right: Tensor } {
  const oriented = orientation === 'out' ? cores : cores.map(swapLegs);
  const cut = denseCut(oriented.map(({ shape }) => shape));
  return { left: mergeLeft(oriented.slice(0, cut)), right: mergeRight(oriented.slice(cut)) };
}

/**
 * `x MPO(cores)^T` without the dense matrix: the chain's two halves are merged, and x goes through one
 * after the other, `[I1 r, J1] x [t, J1, J2]` and `[t I1, r J2] x [r J2, I2]`, so that nothing large is
 * transposed. Needs factors whose products are the sizes exactly.
 * @param x `[tokens, inFeatures]`
 * @returns `[tokens, outFeatures]`
 */
export function applyMpo(x: Tensor, cores: readonly Tensor[], layout: MpoLayout): Tensor {
  const oriented = layout.orientation === 'out' ? cores : cores.map(swapLegs);
  const { cut } = sequentialCost(
    oriented.map(({ shape }) => shape),
    'out',
  );
  const left = mergeLeft(oriented.slice(0, cut));
  const right = mergeRight(oriented.slice(cut));
  const [rows1, cols1, bond] = left.shape as [number, number, number];
  const [rows2, , cols2] = right.shape as [number, number, number];
  const tokens = dimension(x.shape, 0);
  const first = reshape(transpose(left, [0, 2, 1]), [rows1 * bond, cols1]);
  const half = leftMatmul(first, reshape(x, [tokens, cols1, cols2]));
  const second = reshape(right, [rows2, bond * cols2]);
  const product = gemm(reshape(half, [tokens * rows1, bond * cols2]), second, { transposeB: true });
  return reshape(product, [tokens, rows1 * rows2]);
}

/**
 * Whether `applyMpo` costs less than the dense change, over a forward and a backward pass
 * of so many tokens. Dense: the change is formed and its gradient projected, each through the middle
 * bond r (6 r out in), and the gradient of the dense weight is one more product (2 T out in).
 * Sequential: 6 T r (in I1 + out J2). Both are weighed by what an operation costs there.
 */
export function sequentialWins(
  tokens: number,
  shapes: readonly (readonly number[])[],
  { orientation, outFeatures, inFeatures }: MpoLayout,
): boolean {
  const { perToken, rows, cols } = sequentialCost(shapes, orientation);
  if (rows !== outFeatures || cols !== inFeatures) return false;
  const bond = dimension(shapes[denseCut(shapes)] ?? [], 0);
  const dense = outFeatures * inFeatures * (6 * bond + 2 * tokens + DENSE_TRAFFIC);
  return SEQUENTIAL_SLOWDOWN * 6 * tokens * perToken < dense;
}

/** The cut at which a token takes the fewest multiply-adds, and how many. */
function sequentialCost(
  shapes: readonly (readonly number[])[],
  orientation: MpoLayout['orientation'],
): { cut: number; perToken: number; rows: number; cols: number } {
  const [rowLeg, colLeg] = orientation === 'out' ? [1, 2] : [2, 1];
  const product = (leg: number, from: number, to: number): number =>
    shapes.slice(from, to).reduce((size, shape) => size * dimension(shape, leg), 1);
  const n = shapes.length;
  const [rows, cols] = [product(rowLeg, 0, n), product(colLeg, 0, n)];
  let best = { cut: 1, perToken: Infinity };
  for (let cut = 1; cut < n; cut++) {
    const bond = dimension(shapes[cut] ?? [], 0);
    const perToken = bond * (cols * product(rowLeg, 0, cut) + rows * product(colLeg, cut, n));
    if (perToken < best.perToken) best = { cut, perToken };
  }
  return { ...best, rows, cols };
}

function swapLegs(core: Tensor): Tensor {
  return transpose(core, [0, 2, 1, 3]);
}

/**
 * Every step is one batched product over pairs of row indices, so that rows and columns come out
 * contiguous: `[I1, 1, J1, r] x [1, I2, r, J2] -> [I1, I2, J1, J2] = [I1 I2, J1 J2]`.
 * @param left `[I1, J1, r]`
 * @param right `[I2, r, J2]`
 */
function joinHalves(left: Tensor, right: Tensor): Tensor {
  const [rows1, cols1, bond] = left.shape as [number, number, number];
  const [rows2, , cols2] = right.shape as [number, number, number];
  const product = matmul(
    reshape(left, [rows1, 1, cols1, bond]),
    reshape(right, [1, rows2, bond, cols2]),
  );
  return left.graph.withOrigin(reshape(product, [rows1 * rows2, cols1 * cols2]), {
    inputs: [left, right],
    vjp: (dy) => halfGradients(dy, left, right),
  });
}

/** The first cores of the chain as `[I, J, d]`. */
function mergeLeft(cores: readonly Tensor[]): Tensor {
  const [, rows, cols, bond] = (cores[0] as Tensor).shape as [number, number, number, number];
  return cores.slice(1).reduce(
    (left, core) => {
      const [i, j, d] = core.shape.slice(1) as [number, number, number];
      const [leftRows, leftCols] = left.shape as [number, number];
      // core [e, i, j, d] -> [i, e, j d]: a right half whose columns carry the next bond.
      const right = reshape(transpose(core, [1, 0, 2, 3]), [i, dimension(core.shape, 0), j * d]);
      return reshape(joinHalves(left, right), [leftRows * i, leftCols * j, d]);
    },
    reshape(cores[0] as Tensor, [rows, cols, bond]),
  );
}

/** The last cores of the chain as `[I, d, J]`. */
function mergeRight(cores: readonly Tensor[]): Tensor {
  const last = cores.at(-1) as Tensor;
  const [bond, rows, cols] = last.shape as [number, number, number];
  return cores.slice(0, -1).reduceRight(
    (right, core) => {
      const [d, i, j, e] = core.shape as [number, number, number, number];
      const [rightRows, , rightCols] = right.shape as [number, number, number];
      // core [d, i, j, e] -> [i, d j, e]: a left half whose columns carry the previous bond.
      const left = reshape(transpose(core, [1, 0, 2, 3]), [i, d * j, e]);
      return reshape(joinHalves(left, right), [i * rightRows, d, j * rightCols]);
    },
    transpose(reshape(last, [bond, rows, cols]), [1, 0, 2]),
  );
}

/** The cut whose two halves hold the fewest elements. */
function denseCut(shapes: readonly (readonly number[])[]): number {
  let best = 1;
  let fewest = Infinity;
  for (let cut = 1; cut < shapes.length; cut++) {
    const bond = dimension(shapes[cut] ?? [], 0);
    const half = (part: readonly (readonly number[])[]): number =>
      part.reduce((size, shape) => size * dimension(shape, 1) * dimension(shape, 2), bond);
    const elements = half(shapes.slice(0, cut)) + half(shapes.slice(cut));
    if (elements < fewest) {
      fewest = elements;
      best = cut;
    }
  }
  return best;
}
