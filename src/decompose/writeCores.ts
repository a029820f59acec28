/** Cores of decomposed modules as a safetensors file. */
import type { Gemm } from '../core/gemm';
import type { Decomposition } from '../core/mpo/types';
import type { WeightSource } from '../models/modelConfig';
import { writeSafetensors } from '../models/safetensors/writer';
import type { TensorToWrite } from '../models/safetensors/writer';
import type { ModuleDecomposition } from '../protocol/decomposition';
import { decomposeModule } from './decomposeModule';
import { findMatrix, rawRows } from './modules';
import type { ModelDecomposeOptions } from './options';

/**
 * Writes `<module>.mpo_cores.<k>` (fp32, `[left, i, j, right]`) for each result, with shapes and
 * options in the metadata. Cores are not kept during a sweep, so each module is decomposed again
 * when its turn comes: one module's cores in memory at a time, the same bits as before.
 * @throws DotaError `file.diskFull`, `file.unreadable`, errors of reading
 */
export async function writeCores(
  file: string,
  source: WeightSource,
  results: readonly ModuleDecomposition[],
  options: ModelDecomposeOptions,
  gemm: Gemm,
): Promise<void> {
  let current: { module: string; cores: Promise<Decomposition> } | undefined;
  const coresOf = (result: ModuleDecomposition): Promise<Decomposition> => {
    if (current?.module !== result.module)
      current = { module: result.module, cores: again(source, result, options, gemm) };
    return current.cores;
  };
  const tensors = results.flatMap((result) =>
    result.cores.map((shape, k): TensorToWrite => ({
      name: `${result.module}.mpo_cores.${k}`,
      dtype: 'F32',
      shape,
      data: async () => coreData(await coresOf(result), k),
    })),
  );
  await writeSafetensors(file, tensors, {
    format: 'dota-mpo',
    orientation: options.orientation,
    gauge: options.gauge,
    modules: JSON.stringify(
      results.map((r) => ({
        module: r.module,
        rows: r.rows,
        cols: r.cols,
        row_factors: r.rowFactors,
        col_factors: r.colFactors,
      })),
    ),
  });
}

function coreData(decomposition: Decomposition, k: number): Float32Array {
  const core = decomposition.mpo.cores[k];
  if (core === undefined) throw new Error(`No core ${k}.`);
  return core.data;
}

async function again(
  source: WeightSource,
  result: ModuleDecomposition,
  options: ModelDecomposeOptions,
  gemm: Gemm,
): Promise<Decomposition> {
  const { tensor } = findMatrix(source, result.module);
  const raw = await source.read(tensor);
  const request = {
    module: result.module,
    shape: { rows: result.rowFactors, cols: result.colFactors },
    rank: { r: result.bonds.map((b) => b.dimension) },
    options: { ...options, references: [], explicitError: false, exactMiddle: false },
  };
  return (await decomposeModule(rawRows(raw, tensor), request, gemm)).decomposition;
}
