/** Where LoRA's two matrices start: PEFT's `init_lora_weights`. */
import type { Gemm } from '../core/gemm';
import { matrixToLora } from '../core/mpo/lora';
import { Rng } from '../core/rng';
import type { LinearModule } from './adapter';
import type { LoraPair } from './loraPair';
import type { AttachContext } from './method';

export interface LoraStart {
  /** `lora_A` `[r, in]`. */
  a: Float32Array;
  /** `lora_B` `[out, r]`. */
  b: Float32Array;
  /** True when B A isn't zero and has to be taken out of the weight. */
  takenFromWeight: boolean;
}

/** @param scaling what B A is multiplied by */
export async function loraStart(
  module: LinearModule,
  rank: number,
  scaling: number,
  context: AttachContext,
): Promise<LoraStart> {
  const kind = context.options.init_lora_weights;
  return kind === 'pissa'
    ? principal(module, rank, scaling, context)
    : random(module, rank, kind, context.seed);
}

/**
 * B is zero. A is Kaiming-uniform with a = sqrt(5), that is uniform within 1 / sqrt(in); or Gaussian
 * with standard deviation 1 / r.
 */
function random(
  { path, inFeatures, outFeatures }: LinearModule,
  rank: number,
  kind: true | 'gaussian',
  seed: number,
): LoraStart {
  const rng = new Rng(seed, `${path}.lora_A.weight`);
  const length = rank * inFeatures;
  const bound = 1 / Math.sqrt(inFeatures);
  return {
    a:
      kind === 'gaussian'
        ? rng.normals(length, 1 / rank)
        : Float32Array.from({ length }, () => bound * (2 * rng.uniform() - 1)),
    b: new Float32Array(outFeatures * rank),
    takenFromWeight: false,
  };
}

async function principal(
  module: LinearModule,
  rank: number,
  scaling: number,
  { weight, gemm }: AttachContext,
): Promise<LoraStart> {
  const pair = await principalPair(await weight(module), module, rank, scaling, gemm);
  return { ...pair, takenFromWeight: true };
}

/**
 * PiSSA (Meng et al., arXiv 2404.02948): the r leading singular triples of W / scaling, the square
 * roots of the singular values on both sides; W - scaling B A is frozen.
 * @param weight `[out, in]`
 */
export async function principalPair(
  weight: Float32Array,
  { outFeatures, inFeatures }: Pick<LinearModule, 'outFeatures' | 'inFeatures'>,
  rank: number,
  scaling: number,
  gemm: Gemm,
): Promise<LoraPair> {
  const found = await matrixToLora(weight, outFeatures, inFeatures, rank, gemm);
  const root = Math.sqrt(1 / scaling);
  // A rank-deficient weight gives fewer triples: the rest of the rank starts at zero.
  const a = new Float32Array(rank * inFeatures);
  const b = new Float32Array(outFeatures * rank);
  found.a.forEach((value, i) => (a[i] = value * root));
  found.b.forEach((value, i) => {
    const row = Math.floor(i / found.rank);
    b[row * rank + (i % found.rank)] = value * root;
  });
  return { a, b, rank, factor: scaling };
}
