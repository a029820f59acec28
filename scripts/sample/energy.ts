/**
 * How much of each weight the MPO keeps, beside two random matrices decomposed in the same way: one
 * of independent Gaussian entries, one with the weight's own singular values. Structure that an MPO
 * could use would show as a share above both.
 */
import { plainGemm } from '../../src/core/linalg/plainGemm';
import { gaussian } from '../../src/core/linalg/probes';
import { decompose } from '../../src/core/mpo/decompose';
import { rotateRandomly } from '../../src/core/mpo/reference';
import { chooseShape } from '../../src/core/mpo/shapes';
import { toFloat32 } from '../../src/models/dtype';
import { loadModelFolder } from '../../src/models/modelFolder';

export interface ModuleEnergy {
  module: string;
  rows: number;
  cols: number;
  /** Shares of the squared Frobenius norm, in [0, 1]. */
  kept: number;
  keptGaussian: number;
  keptOwnSpectrum: number;
}

/** @param folder a model in Hugging Face layout */
export async function moduleEnergies(
  folder: string,
  cores: number,
  r: number,
  seed: number,
): Promise<ModuleEnergy[]> {
  const model = await loadModelFolder(folder);
  const results: ModuleEnergy[] = [];
  try {
    const names = model.weights.names.filter((name) => name.endsWith('_proj.weight')).toSorted();
    for (const [n, name] of names.entries()) {
      const tensor = await model.weights.read(name);
      const [rows, cols] = tensor.shape as [number, number];
      const weight = toFloat32(tensor, name);
      const options = { shape: chooseShape(rows, cols, cores), rank: { r } };
      const keptOf = async (matrix: Float32Array): Promise<number> =>
        (await decompose(matrix, rows, cols, options, plainGemm)).keptEnergy;
      const random = Float32Array.from(gaussian(rows * cols, seed + 2 * n));
      results.push({
        module: name.replace(/\.weight$/, ''),
        rows,
        cols,
        kept: await keptOf(weight),
        keptGaussian: await keptOf(random),
        keptOwnSpectrum: await keptOf(
          await rotateRandomly(weight, rows, cols, seed + 2 * n + 1, plainGemm),
        ),
      });
    }
  } finally {
    await model.weights.close();
  }
  return results;
}

/** Mean over the modules, for one line of the report. */
export function meanEnergy(
  modules: readonly ModuleEnergy[],
): Pick<ModuleEnergy, 'kept' | 'keptGaussian' | 'keptOwnSpectrum'> {
  const mean = (pick: (m: ModuleEnergy) => number): number =>
    modules.reduce((sum, m) => sum + pick(m), 0) / modules.length;
  return {
    kept: mean((m) => m.kept),
    keptGaussian: mean((m) => m.keptGaussian),
    keptOwnSpectrum: mean((m) => m.keptOwnSpectrum),
  };
}
