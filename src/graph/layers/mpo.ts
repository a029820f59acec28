/**
 * A matrix product operator merged to a dense matrix inside the graph. Contracting cores with the
 * activations one by one costs several times more than the dense product (their intermediate
 * tensors are large and need transposing); see ARCHITECTURE.md.
 */
import { dimension } from '../shape';
import type { Tensor } from '../graph';
import { reshape } from '../ops/broadcast';
import { slice, transpose } from '../ops/layout';
import { matmul } from '../ops/matmul';

export interface MpoLayout {
  /** Which side of `[out, in]` the cores' first physical leg runs over. */
  orientation: 'out' | 'in';
  outFeatures: number;
  inFeatures: number;
}

/**
 * The dense matrix `[outFeatures, inFeatures]` of a chain of cores `[d_{k-1}, i_k, j_k, d_k]`.
 * Zero-padded rows and columns, where the factors' product exceeds the size, are cut off.
 */
export function mergeMpo(cores: readonly Tensor[], layout: MpoLayout): Tensor {
  const oriented = layout.orientation === 'out' ? cores : cores.map(swapLegs);
  const cut = bestCut(oriented);
  const left = mergeLeft(oriented.slice(0, cut));
  const right = mergeRight(oriented.slice(cut));
  const dense = joinHalves(left, right);
  return slice(dense, [0, 0], [layout.outFeatures, layout.inFeatures]);
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
  return reshape(product, [rows1 * rows2, cols1 * cols2]);
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
function bestCut(cores: readonly Tensor[]): number {
  let best = 1;
  let fewest = Infinity;
  for (let cut = 1; cut < cores.length; cut++) {
    const bond = dimension((cores[cut] as Tensor).shape, 0);
    const half = (part: readonly Tensor[]): number =>
      part.reduce((size, core) => size * dimension(core.shape, 1) * dimension(core.shape, 2), bond);
    const elements = half(cores.slice(0, cut)) + half(cores.slice(cut));
    if (elements < fewest) {
      fewest = elements;
      best = cut;
    }
  }
  return best;
}
