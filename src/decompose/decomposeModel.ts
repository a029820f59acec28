/**
 * Decomposes a model's matrices one at a time: memory is that of the largest, results come as they
 * are ready, and what a cache holds is not computed again, so that a stopped run resumes for free.
 */
import type { Gemm } from '../core/gemm';
import { Scratch } from '../core/mpo/interleave';
import type { RankChoice } from '../core/mpo/options';
import { parameterCount } from '../core/mpo/shapes';
import type { MpoShape } from '../core/mpo/types';
import type { WeightSource } from '../models/modelConfig';
import type { ModuleDecomposition } from '../protocol/decomposition';
import { DotaError } from '../protocol/errors';
import { allocateRanks } from './budget';
import { DecompositionCache, cacheKey } from './cache';
import { decomposeModule } from './decomposeModule';
import { findMatrix, rawRows } from './modules';
import type { MatrixModule } from './modules';
import { shapeFor } from './options';
import type { ModelDecomposeOptions } from './options';

/** Rank at which spectra are taken when a budget decides: beyond it a wide middle isn't known. */
const BUDGET_PROBE_RANK = 64;

export interface ModelProgress {
  /** Matrices finished, and of how many (a budget reads each twice). */
  done: number;
  total: number;
  module: string;
  /** Name of the cache's entry, where there is a cache. */
  key?: string;
  /** Whether the entry was there before. */
  cached: boolean;
}

export interface DecomposeModelHooks {
  onModule?: (result: ModuleDecomposition, progress: ModelProgress) => void;
  /** Share in [0, 1] of a whole spectrum that takes long (`exactMiddle`). */
  onSpectrum?: (module: string, share: number) => void;
  /** A module that cannot be decomposed; the others go on. Rethrow to stop. */
  onFailure?: (module: string, error: DotaError) => void;
  /** Folder of cached results; none when absent. */
  cacheFolder?: string;
  signal?: AbortSignal;
}

/**
 * @param targets full module paths or tensor names
 * @returns one result a target, in order, without those reported to `onFailure`
 * @throws DotaError `adapter.noTarget`, `adapter.rank`, `run.stopped`, errors of reading; errors of
 *   single modules when there is no `onFailure`
 */
export async function decomposeModel(
  source: WeightSource,
  targets: readonly string[],
  options: ModelDecomposeOptions,
  gemm: Gemm,
  hooks: DecomposeModelHooks = {},
): Promise<ModuleDecomposition[]> {
  const matrices = targets.map((name) => findMatrix(source, name));
  const run = new ModelRun(source, options, gemm, hooks);
  const { rank } = options;
  const hasOwn = ({ module }: MatrixModule): boolean => options.ranks?.[module] !== undefined;
  const open = matrices.filter((m) => !hasOwn(m));
  if (!('budget' in rank) || open.length === 0) {
    run.total = matrices.length;
    // A budget has nothing to decide where every module has ranks of its own.
    const common = 'budget' in rank ? { r: 1 } : rank;
    return run.all(matrices, (m) => rankFor(m.module, common, options), true);
  }
  run.total = matrices.length + open.length;
  const probes = await run.all(open, () => ({ r: BUDGET_PROBE_RANK }), false);
  const taken = matrices
    .filter(hasOwn)
    .reduce((sum, m) => sum + parametersOf(m, options.ranks?.[m.module] ?? [], options), 0);
  const ranks = allocateRanks(
    probes.map((p) => ({
      module: p.module,
      shape: { rows: p.rowFactors, cols: p.colFactors },
      energy: p.energy,
      bonds: p.bonds,
    })),
    rank.budget - taken,
  );
  const allocated = matrices.filter((m) => hasOwn(m) || ranks.has(m.module));
  return run.all(
    allocated,
    (m) => rankFor(m.module, { r: ranks.get(m.module) ?? 1 }, options),
    true,
  );
}

function parametersOf(
  { module, rows, cols }: MatrixModule,
  ranks: readonly number[],
  options: ModelDecomposeOptions,
): number {
  return parameterCount(shapeFor(module, rows, cols, options), ranks);
}

function rankFor(module: string, rank: RankChoice, { ranks }: ModelDecomposeOptions): RankChoice {
  const own = ranks?.[module];
  return own === undefined ? rank : { r: own };
}

/** An error of one module says which, unless it names a place of its own. */
function placed(error: unknown, module: string): unknown {
  if (!(error instanceof DotaError) || error.where !== undefined || error.code === 'run.stopped')
    return error;
  const { code, message, next } = error;
  return new DotaError(code, message, {
    where: module,
    cause: error,
    ...(next === undefined ? {} : { next }),
  });
}

class ModelRun {
  total = 0;
  private done = 0;
  private readonly scratch = new Scratch();
  private readonly cache: DecompositionCache | undefined;

  constructor(
    private readonly source: WeightSource,
    private readonly options: ModelDecomposeOptions,
    private readonly gemm: Gemm,
    private readonly hooks: DecomposeModelHooks,
  ) {
    const { cacheFolder } = hooks;
    this.cache = cacheFolder === undefined ? undefined : new DecompositionCache(cacheFolder);
  }

  /** @param final false for the spectra that only a budget looks at */
  async all(
    matrices: readonly MatrixModule[],
    rankOf: (matrix: MatrixModule) => RankChoice,
    final: boolean,
  ): Promise<ModuleDecomposition[]> {
    const results: ModuleDecomposition[] = [];
    for (const matrix of matrices) {
      try {
        const { result, key, cached } = await this.one(matrix, rankOf(matrix), final);
        results.push(result);
        this.done++;
        const { done, total } = this;
        const named = key === undefined ? {} : { key };
        if (final)
          this.hooks.onModule?.(result, { done, total, module: matrix.module, cached, ...named });
      } catch (cause) {
        const error = placed(cause, matrix.module);
        const { onFailure } = this.hooks;
        if (!(error instanceof DotaError) || error.code === 'run.stopped' || !onFailure)
          throw error;
        this.done++;
        onFailure(matrix.module, error);
      }
    }
    return results;
  }

  private async one(
    matrix: MatrixModule,
    rank: RankChoice,
    final: boolean,
  ): Promise<{ result: ModuleDecomposition; key: string | undefined; cached: boolean }> {
    const { signal, onSpectrum } = this.hooks;
    if (signal?.aborted)
      throw new DotaError('run.stopped', 'The decomposition was stopped.', {
        next: 'Start it again; finished modules are taken from the cache.',
      });
    const shape: MpoShape = shapeFor(matrix.module, matrix.rows, matrix.cols, this.options);
    const { orientation, gauge, seed, exactMiddle } = this.options;
    const options = {
      orientation,
      gauge,
      seed,
      exactMiddle: final && exactMiddle,
      references: final ? this.options.references : [],
      explicitError: final && this.options.explicitError,
    };
    const raw = await this.source.read(matrix.tensor);
    const { cache } = this;
    const key = cache === undefined ? undefined : cacheKey(raw, { shape, rank, ...options });
    const known = key === undefined ? undefined : await cache?.read(key, matrix.module);
    if (known !== undefined) return { result: known, key, cached: true };
    const request = {
      module: matrix.module,
      shape,
      rank,
      options,
      scratch: this.scratch,
      ...(signal === undefined ? {} : { signal }),
      onProgress: (share: number) => onSpectrum?.(matrix.module, share),
    };
    const { summary } = await decomposeModule(rawRows(raw, matrix.tensor), request, this.gemm);
    if (key !== undefined) await cache?.write(key, summary);
    // The collector does not feel the weight of the products' buffers; where it may be called
    // (see the trainer), memory stays flat from module to module.
    globalThis.gc?.();
    return { result: summary, key, cached: false };
  }
}
