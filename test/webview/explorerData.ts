/** A model of 32 layers of 7 modules with plausible spectra, made from formulas. */
import type { BondSummary, ModuleDecomposition } from '../../src/protocol/decomposition';
import type {
  DecomposeOptions,
  ExplorerModel,
  ExplorerModule,
  TrainingMemory,
} from '../../src/protocol/explorerPanel';

export const model: ExplorerModel = {
  name: 'Llama-shaped 7B',
  architecture: 'llama',
  parameters: 6_738_415_616,
  numLayers: 32,
  weightBytes: 13_476_831_232,
  hiddenSize: 4096,
  intermediateSize: 11008,
  vocabSize: 32000,
};

/** Of the order of what a 7B model takes at 8 x 512 tokens. */
export const training: TrainingMemory = {
  batch: 8,
  sequence: 512,
  fixedBytes: Array.from({ length: model.numLayers }, (_, layer) => 4.4e10 - 7e8 * layer),
  bytesPerEntry: 18,
  bytesPerParameter: 20,
};

export const options: DecomposeOptions = {
  cores: 3,
  rule: 'rank',
  value: 32,
  orientation: 'out',
  shapes: {},
  ranks: {},
  exactMiddle: false,
};

const kinds = [
  ['self_attn.q_proj', 4096, 4096],
  ['self_attn.k_proj', 4096, 4096],
  ['self_attn.v_proj', 4096, 4096],
  ['self_attn.o_proj', 4096, 4096],
  ['mlp.gate_proj', 11008, 4096],
  ['mlp.up_proj', 11008, 4096],
  ['mlp.down_proj', 4096, 11008],
] as const;

export function modules(layers = model.numLayers): ExplorerModule[] {
  const list: ExplorerModule[] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const [path, rows, cols] of kinds) {
      const kind = path.split('.')[1] ?? path;
      list.push({ name: `model.layers.${layer}.${path}`, kind, layer, rows, cols, dtype: 'BF16' });
    }
  }
  return list;
}

const factors: Readonly<Record<number, readonly number[]>> = {
  4096: [16, 16, 16],
  11008: [16, 16, 43],
};
const wide: Readonly<Record<number, readonly number[]>> = {
  4096: [8, 8, 8, 8],
  11008: [43, 8, 8, 4],
};

/** Shares of energy: a power law of strength `a` on a flat, slowly falling bulk. */
function shape(full: number, a: number, structure: number): Float64Array {
  const values = Float64Array.from({ length: full }, (_, i) => {
    const bulk = 1.35 - (0.75 * i) / full;
    return Math.sqrt(structure * 40 * (i + 1) ** (-2 * a) + (1 - structure) * bulk * bulk);
  });
  return values;
}

function scaled(values: Float64Array, energy: number): Float64Array {
  const sum = values.reduce((s, v) => s + v * v, 0);
  return values.map((v) => v * Math.sqrt(energy / sum));
}

function head(values: Float64Array, d: number): number {
  return values.subarray(0, d).reduce((s, v) => s + v * v, 0);
}

export function result(
  module: ExplorerModule,
  made: DecomposeOptions = options,
): ModuleDecomposition {
  const table = made.cores === 3 ? factors : wide;
  const rowFactors = table[module.rows] ?? [16, 16, 16];
  const colFactors = [...(table[module.cols] ?? [16, 16, 16])].reverse();
  const pairs = rowFactors.map((i, k) => i * (colFactors[k] ?? 1));
  const product = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);
  const layer = module.layer ?? 0;
  const depth = layer / model.numLayers;
  const attention = module.rows === module.cols;
  const structure =
    (attention ? 0.55 : 0.22) *
    (0.35 + 0.65 * Math.exp(-3 * depth) + 0.25 * Math.sin(layer * 1.7) ** 2);
  const energy = module.rows * module.cols * 4e-4;
  const bonds: BondSummary[] = pairs.slice(0, -1).map((_, k) => {
    const fullDimension = Math.min(product(pairs.slice(0, k + 1)), product(pairs.slice(k + 1)));
    const exactSpectrum = fullDimension <= 512 || made.exactMiddle;
    const dimension = Math.min(made.rule === 'rank' ? made.value : 32, fullDimension);
    const whole = scaled(shape(fullDimension, 0.62 + 0.1 * k, structure), energy);
    return {
      dimension,
      fullDimension,
      spectrum: exactSpectrum ? whole : whole.slice(0, 2 * dimension).map((v) => v * 0.97),
      exactSpectrum,
      discardedEnergy: energy - head(whole, dimension),
    };
  });
  const lost = Math.max(...bonds.map((b) => b.discardedEnergy)) * 1.4;
  const keptEnergy = Math.max(0.02, 1 - lost / energy);
  const ranks = bonds.map((b) => b.dimension);
  const cores = pairs.map(
    (_, k) => [ranks[k - 1] ?? 1, rowFactors[k] ?? 1, colFactors[k] ?? 1, ranks[k] ?? 1] as const,
  );
  const reference = (kind: 'gaussian' | 'own_spectrum', s: number, kept: number) => ({
    kind,
    keptEnergy: kept,
    spectra: bonds.map((b) => scaled(shape(b.fullDimension, 0.5, s), energy)),
  });
  return {
    module: module.name,
    rows: module.rows,
    cols: module.cols,
    rowFactors,
    colFactors,
    orientation: made.orientation,
    cores,
    bonds,
    energy,
    keptEnergy,
    relativeError: Math.sqrt(1 - keptEnergy),
    parameters: cores.reduce((s, c) => s + product(c), 0),
    references: [
      reference('gaussian', 0, keptEnergy * 0.42),
      reference(
        'own_spectrum',
        structure * 0.18,
        keptEnergy * (attention ? 0.6 : 0.9 + 0.13 * Math.sin(layer)),
      ),
    ],
    seconds: 0.9,
  };
}
