/**
 * LoRETTA_rep (Yang et al., arXiv 2402.11417): LoRA whose two matrices are tensor trains. The
 * flattened `[in, r]` and `[r, out]` are split into modes n_1..n_d, with cores
 * `[t_{k-1}, n_k, t_k]` of tensor rank t; y = W x + (alpha / r) (x A) B. (The paper's trainable norms
 * are left out, so that the methods train the same modules.)
 */
import { primeFactors } from '../core/mpo/shapes';
import { Rng } from '../core/rng';
import type { Tensor } from '../graph/graph';
import { reshape } from '../graph/ops/broadcast';
import { add, scale, sub } from '../graph/ops/elementwise';
import { gemm } from '../graph/ops/matmul';
import { dimension, sizeOf } from '../graph/shape';
import type { AdapterTensor, LinearModule, ModuleAdapter, TensorLookup } from './adapter';
import { loraRank, loraScaling } from './lora';
import { type LoraPair, pairDifference, transposed } from './loraPair';
import type { AdapterMethod, AdapterOptions } from './method';

type Side = 'lora_A' | 'lora_B';
type CoreShape = readonly [number, number, number];

const coreName = (side: Side, k: number): string => `${side}.tt_cores.${k}`;
const initialName = (side: Side, k: number): string => `${side}.tt_initial_cores.${k}`;

/**
 * Modes of a matrix with `size` entries, largest first: about log_8(size) of them, as equal as its
 * prime factors allow. (As many as the published lists have: 16, 16, 8, 4, 4 for 4096 x 8.)
 */
export function trainModes(size: number): number[] {
  const count = Math.max(2, Math.round(Math.log(size) / Math.log(8)));
  const modes = new Array<number>(count).fill(1);
  for (const prime of primeFactors(size).reverse()) {
    const smallest = modes.indexOf(Math.min(...modes));
    modes[smallest] = (modes[smallest] as number) * prime;
  }
  return modes.sort((a, b) => b - a);
}

function trainShapes(size: number, tensorRank: number): CoreShape[] {
  const modes = trainModes(size);
  const inner = (k: number): number => {
    const left = modes.slice(0, k).reduce((a, b) => a * b, 1);
    return Math.min(tensorRank, left, size / left);
  };
  return modes.map((mode, k) => [inner(k), mode, inner(k + 1)]);
}

function sides(module: LinearModule, rank: number, tensorRank: number) {
  return [
    { side: 'lora_A', shapes: trainShapes(module.inFeatures * rank, tensorRank) },
    { side: 'lora_B', shapes: trainShapes(rank * module.outFeatures, tensorRank) },
  ] as const;
}

/**
 * Every core Gaussian with deviation s^(1/d) / sqrt(t_k), s = 1 / sqrt(in + out) of the matrix that
 * the train makes up; `init_std` sets another.
 */
function coreDeviation(
  module: LinearModule,
  side: Side,
  rank: number,
  shapes: readonly CoreShape[],
  k: number,
  options: AdapterOptions,
): number {
  if (options.init_std !== undefined) return options.init_std;
  const features = side === 'lora_A' ? module.inFeatures : module.outFeatures;
  const right = shapes[k]?.[2] ?? 1;
  return (1 / Math.sqrt(features + rank)) ** (1 / shapes.length) / Math.sqrt(right);
}

export const loretta: AdapterMethod = {
  help: 'LoRA whose two matrices are tensor trains: very few parameters.',
  attach: (module, { options, seed }) => Promise.resolve(lorettaAdapter(module, options, seed)),
  trainableCount(module, options) {
    return sides(module, loraRank(module, options), options.tensor_rank)
      .flatMap(({ shapes }) => shapes)
      .reduce((sum, shape) => sum + sizeOf(shape), 0);
  },
};

function lorettaAdapter(
  module: LinearModule,
  options: AdapterOptions,
  seed: number,
): LorettaAdapter {
  const rank = loraRank(module, options);
  const tensors = sides(module, rank, options.tensor_rank).flatMap(({ side, shapes }) =>
    shapes.map((shape, k): AdapterTensor => {
      const zero =
        options.init_random === 'zero_core' && side === 'lora_B' && k === shapes.length - 1;
      const deviation = zero ? 0 : coreDeviation(module, side, rank, shapes, k, options);
      return {
        name: coreName(side, k),
        shape,
        initial: new Rng(seed, `${module.path}.${side}`, k).normals(sizeOf(shape), deviation),
        trainable: true,
        learningRateFactor: 1,
      };
    }),
  );
  const copy = options.init_random === 'frozen_copy';
  return new LorettaAdapter(module, rank, loraScaling(rank, options), copy, tensors);
}

/**
 * The trained trains as a pair of LoRA, without loss: `factor` B A is the change of the weight. A frozen
 * copy of the start is a second pair beside the first, so that the rank doubles.
 * @param trained value of a tensor that trained, by its name in the module
 */
export async function lorettaPair(
  module: LinearModule,
  options: AdapterOptions,
  seed: number,
  trained: (name: string) => Promise<Float32Array>,
): Promise<LoraPair> {
  const { outFeatures, inFeatures } = module;
  const { tensors, rank, scaling: factor } = lorettaAdapter(module, options, seed);
  const values = new Map<string, Float32Array>();
  for (const { name, initial, trainable } of tensors) {
    values.set(name, trainable ? await trained(name) : initial);
  }
  const matrix = (side: Side, kind: string): Float32Array =>
    trainValues(
      tensors
        .filter(({ name }) => name.startsWith(`${side}.${kind}.`))
        .map(({ name, shape }) => ({
          data: values.get(name) as Float32Array,
          shape: shape as CoreShape,
        })),
    );
  const pair = (kind: string): LoraPair => ({
    a: transposed(matrix('lora_A', kind), inFeatures, rank),
    b: transposed(matrix('lora_B', kind), rank, outFeatures),
    rank,
    factor,
  });
  return options.init_random === 'frozen_copy'
    ? pairDifference(pair('tt_cores'), pair('tt_initial_cores'))
    : pair('tt_cores');
}

/** The cores multiplied from the left, flattened. */
function trainValues(cores: readonly { data: Float32Array; shape: CoreShape }[]): Float32Array {
  let left = Float32Array.of(1);
  for (const { data, shape } of cores) {
    const [bond, mode, right] = shape;
    const width = mode * right;
    const rows = left.length / bond;
    const product = new Float32Array(rows * width);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < width; col++) {
        let sum = 0;
        for (let t = 0; t < bond; t++) {
          sum += (left[row * bond + t] as number) * (data[t * width + col] as number);
        }
        product[row * width + col] = sum;
      }
    }
    left = product;
  }
  return left;
}

class LorettaAdapter implements ModuleAdapter {
  readonly tensors: readonly AdapterTensor[];
  readonly signature: string;
  readonly subtractsInitialDelta = false;

  constructor(
    readonly module: LinearModule,
    readonly rank: number,
    readonly scaling: number,
    private readonly subtractsCopy: boolean,
    cores: readonly AdapterTensor[],
  ) {
    const frozen = cores.map((core) => ({
      ...core,
      name: core.name.replace('tt_cores', 'tt_initial_cores'),
      trainable: false,
    }));
    this.tensors = subtractsCopy ? [...cores, ...frozen] : cores;
    const shapes = cores.map(({ shape }) => shape.join('x')).join(' ');
    this.signature = `loretta ${rank} ${scaling} ${subtractsCopy} ${shapes}`;
  }

  apply(x: Tensor, weight: Tensor, lookup: TensorLookup): Tensor {
    const through = (name: typeof coreName): Tensor => {
      const { a, b } = this.#matrices(lookup, name);
      return gemm(gemm(x, a), b);
    };
    const current = through(coreName);
    const change = this.subtractsCopy ? sub(current, through(initialName)) : current;
    return add(gemm(x, weight, { transposeB: true }), scale(change, this.scaling));
  }

  delta(lookup: TensorLookup): Tensor {
    const product = (name: typeof coreName): Tensor => {
      const { a, b } = this.#matrices(lookup, name);
      return gemm(b, a, { transposeA: true, transposeB: true });
    };
    const current = product(coreName);
    return scale(this.subtractsCopy ? sub(current, product(initialName)) : current, this.scaling);
  }

  /** A `[in, r]` and B `[r, out]`. */
  #matrices(lookup: TensorLookup, name: typeof coreName): { a: Tensor; b: Tensor } {
    const { inFeatures, outFeatures } = this.module;
    const full = (side: Side): Tensor => {
      const count = this.tensors.filter((t) => t.name.startsWith(`${side}.tt_cores.`)).length;
      return contractTrain(Array.from({ length: count }, (_, k) => lookup(name(side, k))));
    };
    return {
      a: reshape(full('lora_A'), [inFeatures, this.rank]),
      b: reshape(full('lora_B'), [this.rank, outFeatures]),
    };
  }
}

/** Cores `[t_{k-1}, n_k, t_k]` multiplied from the left: `[n_1 .. n_d, 1]`. */
function contractTrain(cores: readonly Tensor[]): Tensor {
  return cores.slice(1).reduce(
    (left, core) => {
      const [bond, mode, right] = core.shape as CoreShape;
      const rows = sizeOf(left.shape) / bond;
      const product = gemm(reshape(left, [rows, bond]), reshape(core, [bond, mode * right]));
      return reshape(product, [rows * mode, right]);
    },
    reshape(cores[0] as Tensor, [
      dimension((cores[0] as Tensor).shape, 1),
      dimension((cores[0] as Tensor).shape, 2),
    ]),
  );
}
