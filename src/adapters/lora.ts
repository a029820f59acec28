import { Rng } from '../core/rng';
import { DotaError } from '../protocol/errors';
import type { AdapterTensor, LinearModule, ModuleAdapter } from './adapter';
import type { AdapterMethod } from './method';
import { matchPattern } from './targets';
import { add, scale } from '../graph/ops/elementwise';
import { gemm } from '../graph/ops/matmul';

const down = 'lora_A.weight';
const up = 'lora_B.weight';

/** LoRA (Hu et al., arXiv 2106.09685): W + (alpha / r) B A, with PEFT's initialisation. */
export const lora: AdapterMethod = {
  help: 'The familiar low-rank adapter, for comparison.',
  async attach(module, { options, seed }) {
    const pattern = matchPattern(options.rank_pattern, module.path, 'rank_pattern');
    const rank = pattern?.value ?? options.r;
    checkRank(module, rank);
    const { inFeatures, outFeatures } = module;
    // PEFT: Kaiming-uniform with a = sqrt(5), that is uniform within 1 / sqrt(fan-in); B is zero.
    const bound = 1 / Math.sqrt(inFeatures);
    const random = new Rng(seed, `${module.path}.${down}`);
    const a = Float32Array.from(
      { length: rank * inFeatures },
      () => bound * (2 * random.uniform() - 1),
    );
    const b = new Float32Array(outFeatures * rank);
    return loraAdapter(module, (options.lora_alpha ?? rank) / rank, [
      tensor(down, [rank, inFeatures], a),
      tensor(up, [outFeatures, rank], b),
    ]);
  },
};

function tensor(name: string, shape: readonly number[], initial: Float32Array): AdapterTensor {
  return { name, shape, initial, trainable: true, learningRateFactor: 1 };
}

function checkRank({ path, inFeatures, outFeatures }: LinearModule, rank: number): void {
  const largest = Math.min(inFeatures, outFeatures);
  if (rank <= largest) return;
  throw new DotaError('adapter.rank', `Rank ${rank} exceeds the ${largest} of ${path}.`, {
    where: 'adapter.r',
    next: `Choose at most ${largest}, or set rank_pattern for this module.`,
  });
}

function loraAdapter(
  module: LinearModule,
  factor: number,
  tensors: readonly AdapterTensor[],
): ModuleAdapter {
  return {
    module,
    tensors,
    signature: `lora ${tensors[0]?.shape[0] ?? 0} ${factor}`,
    subtractsInitialDelta: false,
    apply(x, weight, lookup) {
      const base = gemm(x, weight, { transposeB: true });
      const narrow = gemm(x, lookup(down), { transposeB: true });
      return add(base, scale(gemm(narrow, lookup(up), { transposeB: true }), factor));
    },
    delta: (lookup) => scale(gemm(lookup(up), lookup(down)), factor),
  };
}
