/** One weight matrix: decomposition, references and summary. */
import type { Gemm } from '../core/gemm';
import { decompose, decomposeRows } from '../core/mpo/decompose';
import { explicitError } from '../core/mpo/explicitError';
import type { Scratch, WeightRows } from '../core/mpo/interleave';
import type { DecomposeOptions, RankChoice } from '../core/mpo/options';
import { gaussianKeptEnergy, gaussianSpectrum, rotateRandomly } from '../core/mpo/reference';
import { pairSizes, product } from '../core/mpo/shapes';
import type { Decomposition, MpoShape } from '../core/mpo/types';
import type { ModuleDecomposition, ReferenceSummary } from '../protocol/decomposition';
import type { ModelDecomposeOptions, ReferenceKind } from './options';

export interface ModuleRequest {
  module: string;
  shape: MpoShape;
  rank: RankChoice;
  options: Omit<ModelDecomposeOptions, 'rank' | 'shapes' | 'cores'>;
  /** Reused between the modules of a run. */
  scratch?: Scratch;
  signal?: AbortSignal;
  /** Share in [0, 1] of a whole spectrum that takes long. */
  onProgress?: (share: number) => void;
}

/**
 * Decomposes a matrix and summarises it. The cores are returned beside the summary, for an output
 * file; the summary holds no tensor.
 */
export async function decomposeModule(
  weight: WeightRows,
  request: ModuleRequest,
  gemm: Gemm,
): Promise<{ summary: ModuleDecomposition; decomposition: Decomposition }> {
  const { options, shape } = request;
  const started = performance.now();
  const coreOptions: DecomposeOptions = {
    shape,
    rank: request.rank,
    orientation: options.orientation,
    gauge: options.gauge,
    seed: options.seed,
    spectra: 'all',
    exactMiddle: options.exactMiddle,
    ...(request.scratch === undefined ? {} : { scratch: request.scratch }),
    ...(request.signal === undefined ? {} : { signal: request.signal }),
    ...(request.onProgress === undefined ? {} : { onProgress: request.onProgress }),
  };
  const decomposition = await decomposeRows(weight, coreOptions, gemm);
  const references: ReferenceSummary[] = [];
  for (const kind of options.references)
    references.push(await reference(kind, weight, decomposition, coreOptions, gemm));
  const explicit = options.explicitError
    ? await explicitError(weight, decomposition.mpo, options.orientation, gemm, request.scratch)
    : undefined;
  const summary: ModuleDecomposition = {
    module: request.module,
    rows: weight.outFeatures,
    cols: weight.inFeatures,
    rowFactors: shape.rows,
    colFactors: shape.cols,
    orientation: options.orientation,
    cores: decomposition.mpo.cores.map((core) => core.shape),
    bonds: decomposition.bonds,
    energy: decomposition.energy,
    keptEnergy: decomposition.keptEnergy,
    relativeError: decomposition.relativeError,
    ...(explicit === undefined ? {} : { explicitError: explicit }),
    parameters: decomposition.parameters,
    references,
    seconds: (performance.now() - started) / 1000,
  };
  return { summary, decomposition };
}

async function reference(
  kind: ReferenceKind,
  weight: WeightRows,
  decomposition: Decomposition,
  options: DecomposeOptions,
  gemm: Gemm,
): Promise<ReferenceSummary> {
  const bonds = decomposition.bonds.map((b) => b.dimension);
  switch (kind) {
    case 'gaussian': {
      const pairs = pairSizes(options.shape);
      const total = product(pairs);
      return {
        kind,
        keptEnergy: gaussianKeptEnergy(options.shape, bonds),
        // As many values as the weight's own spectrum has, to be drawn beside it.
        spectra: decomposition.bonds.map((bond, k) => {
          const left = product(pairs.slice(0, k + 1));
          const side = Math.min(left, total / left);
          return gaussianSpectrum(side, total / side, decomposition.energy).slice(
            0,
            bond.spectrum.length,
          );
        }),
      };
    }
    case 'own_spectrum': {
      const { outFeatures, inFeatures } = weight;
      const whole = new Float32Array(outFeatures * inFeatures);
      for (let o = 0; o < outFeatures; o++) whole.set(weight.row(o), o * inFeatures);
      const rotated = await rotateRandomly(
        whole,
        outFeatures,
        inFeatures,
        (options.seed ?? 0) + 1000,
        gemm,
      );
      // The whole middle spectrum of a random matrix would cost as much again and tell nothing new.
      const result = await decompose(
        rotated,
        outFeatures,
        inFeatures,
        { ...options, rank: { r: bonds }, exactMiddle: false },
        gemm,
      );
      return {
        kind,
        keptEnergy: result.keptEnergy,
        spectra: result.bonds.map((b) => b.spectrum),
      };
    }
  }
}
