/**
 * The memory of training DoTA as a formula in what the explorer's sliders change, so that a slider's
 * effect is shown without asking again: the estimate is linear in the number of trained parameters
 * and in the largest adapted matrix, and the rest depends on the lowest adapted layer only.
 */
import { linearModules } from '../adapters/targets';
import type { LinearModule } from '../adapters/adapter';
import type { TrainingMemory } from '../protocol/explorerPanel';
import { estimateTraining, type TrainingShape } from './estimateTraining';

/**
 * Coefficients read off {@link estimateTraining}, to which they are exact for any choice of modules,
 * shapes and ranks. What holds an explicit residual is not linear in these and not covered.
 */
export function memoryModel(shape: Omit<TrainingShape, 'method'>): TrainingMemory {
  const modules = linearModules(shape.config);
  const layers = Array.from({ length: shape.config.numLayers }, (_, layer) => {
    const own = modules.filter((m) => m.layer === layer);
    const [small, large] = [Math.min(...own.map(area)), Math.max(...own.map(area))];
    return [small, large].map((size) => probe(own.find((m) => area(m) === size) as LinearModule));
  });
  const coefficients = layers.map((probes) => {
    const [small, large] = probes as [Probe, Probe];
    const bytesPerEntry =
      large.entries === small.entries
        ? 0
        : (large.rest - small.rest) / (large.entries - small.entries);
    return { bytesPerEntry, fixedBytes: small.rest - bytesPerEntry * small.entries };
  });
  return {
    batch: shape.batch,
    sequence: shape.sequence,
    bytesPerParameter: layers[0]?.[0]?.bytesPerParameter ?? 0,
    bytesPerEntry: coefficients[0]?.bytesPerEntry ?? 0,
    fixedBytes: coefficients.map((c) => c.fixedBytes),
  };

  /** One module adapted alone, as two cores of bond 1 (its shape does not matter here). */
  function probe(module: LinearModule): Probe {
    const { path, outFeatures, inFeatures } = module;
    const { bytes, totalBytes, trainableParameters } = estimateTraining({
      ...shape,
      method: 'dota',
      adapter: {
        ...shape.adapter,
        residual: 'implicit',
        orientation: 'out',
        target_modules: [path],
        exclude_modules: undefined,
        layers_to_transform: undefined,
        rank_pattern: {},
        mpo_shapes: { [path]: { rows: [1, outFeatures], cols: [1, inFeatures] } },
        r: 1,
      },
    });
    const own = bytes.adapter + bytes.gradients + bytes.optimizer;
    return {
      entries: area(module),
      bytesPerParameter: own / trainableParameters,
      rest: totalBytes - own,
    };
  }
}

interface Probe {
  /** Of the module's matrix. */
  entries: number;
  bytesPerParameter: number;
  /** Bytes of all that the parameters don't take. */
  rest: number;
}

function area({ outFeatures, inFeatures }: LinearModule): number {
  return outFeatures * inFeatures;
}
