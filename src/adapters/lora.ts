import type { AdapterTensor, LinearModule, ModuleAdapter, TensorLookup } from './adapter';
import type { AdapterMethod, AdapterOptions } from './method';
import { DoraAdapter } from './dora';
import { loraStart } from './loraStart';
import { matchPattern } from './targets';
import { DotaError } from '../protocol/errors';
import type { Tensor } from '../graph/graph';
import { add, scale } from '../graph/ops/elementwise';
import { gemm } from '../graph/ops/matmul';

const down = 'lora_A.weight';
const up = 'lora_B.weight';

/**
 * LoRA (Hu et al., arXiv 2106.09685): W + scaling B A with scaling alpha / r, or alpha / sqrt(r) for
 * rsLoRA (Kalajdzievski, arXiv 2312.03732). PiSSA is another start, DoRA another form of it.
 */
export const lora: AdapterMethod = {
  help: 'The familiar low-rank adapter, for comparison; also rsLoRA, PiSSA and DoRA.',
  async attach(module, context) {
    const { options } = context;
    if (options.use_dora && options.init_lora_weights === 'pissa') {
      throw new DotaError(
        'config.invalid',
        'use_dora and init_lora_weights "pissa" exclude each other.',
        {
          where: 'adapter',
          next: 'Choose one of the two.',
        },
      );
    }
    const rank = loraRank(module, options);
    const scaling = loraScaling(rank, options);
    const { a, b, takenFromWeight } = await loraStart(module, rank, scaling, context);
    const plain = new LoraAdapter(module, scaling, takenFromWeight, [
      tensor(down, [rank, module.inFeatures], a),
      tensor(up, [module.outFeatures, rank], b),
    ]);
    return options.use_dora ? DoraAdapter.of(plain, await context.weight(module)) : plain;
  },
  trainableCount(module, options) {
    const { outFeatures, inFeatures } = module;
    const magnitudes = options.use_dora ? outFeatures : 0;
    return loraRank(module, options) * (outFeatures + inFeatures) + magnitudes;
  },
};

/**
 * The rank of a module's two matrices.
 * @throws DotaError `adapter.rank`
 */
export function loraRank(module: LinearModule, options: AdapterOptions): number {
  const pattern = matchPattern(options.rank_pattern, module.path, 'rank_pattern');
  const rank = pattern?.value ?? options.r;
  if (typeof rank !== 'number') {
    throw new DotaError('adapter.rank', `${module.path} has one rank, not ${rank.length}.`, {
      where: `adapter.rank_pattern["${pattern?.key ?? ''}"]`,
      next: 'Give a number: lists of ranks belong to methods with MPO cores.',
    });
  }
  checkRank(module, rank);
  return rank;
}

/** What B A is multiplied by: alpha / r, or alpha / sqrt(r) for rsLoRA. */
export function loraScaling(rank: number, options: AdapterOptions): number {
  return (options.lora_alpha ?? rank) / (options.use_rslora ? Math.sqrt(rank) : rank);
}

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

export class LoraAdapter implements ModuleAdapter {
  readonly signature: string;

  constructor(
    readonly module: LinearModule,
    private readonly scaling: number,
    readonly subtractsInitialDelta: boolean,
    readonly tensors: readonly AdapterTensor[],
  ) {
    this.signature = `lora ${tensors[0]?.shape[0] ?? 0} ${scaling} ${subtractsInitialDelta}`;
  }

  apply(x: Tensor, weight: Tensor, lookup: TensorLookup): Tensor {
    const base = gemm(x, weight, { transposeB: true });
    const narrow = gemm(x, lookup(down), { transposeB: true });
    return add(base, scale(gemm(narrow, lookup(up), { transposeB: true }), this.scaling));
  }

  delta(lookup: TensorLookup): Tensor {
    return scale(gemm(lookup(up), lookup(down)), this.scaling);
  }
}
