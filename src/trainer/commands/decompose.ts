/** `dota decompose`: what a layer is as a matrix product operator, for people and for programs. */
import type { Gemm } from '../../core/gemm';
import type { RankChoice } from '../../core/mpo/options';
import type { Gauge, MpoShape, Orientation } from '../../core/mpo/types';
import { decomposeModel } from '../../decompose/decomposeModel';
import { findMatrix, listMatrices } from '../../decompose/modules';
import { openWeightSource } from '../../decompose/openSource';
import type { ModulePlan } from '../../decompose/plan';
import { defaultModelDecomposeOptions } from '../../decompose/options';
import type { ModelDecomposeOptions, ReferenceKind } from '../../decompose/options';
import { rankByStructure } from '../../decompose/structure';
import { writeCores } from '../../decompose/writeCores';
import type { WeightSource } from '../../models/modelConfig';
import { encodeDecomposition } from '../../protocol/decomposition';
import type {
  DecomposeEvent,
  DecomposeReport,
  ModuleDecomposition,
} from '../../protocol/decomposition';
import { DotaError, formatError } from '../../protocol/errors';
import { peakRssMb } from '../peakMemory';

export interface DecomposeArgs {
  /** Model folder or `.safetensors` file. */
  path: string;
  /** Module paths or tensor names; the decoder layers' matrices when empty. */
  tensors: readonly string[];
  cores?: number;
  rowFactors?: readonly number[];
  colFactors?: readonly number[];
  /** Shapes and bonds of single modules; without `tensors` its modules are the ones decomposed. */
  plan?: ReadonlyMap<string, ModulePlan>;
  /** At most one of the four. A list names every bond. */
  rank?: number | readonly number[];
  energy?: number;
  relativeError?: number;
  budget?: number;
  orientation?: Orientation;
  gauge?: Gauge;
  references?: readonly ReferenceKind[];
  exactMiddle?: boolean;
  seed?: number;
  /** Write the cores here. */
  out?: string;
  /** Folder of cached results. */
  cacheFolder?: string;
  /** Print one JSON object as the last line of standard output. */
  json?: boolean;
  /** Print a JSON line ({@link DecomposeEvent}) as each module is ready. */
  stream?: boolean;
}

export interface DecomposeIo {
  gemm: Gemm;
  /** A line of standard output. */
  print: (line: string) => void;
  /** A line of standard error: progress and warnings beside `--json`. */
  note: (line: string) => void;
  signal?: AbortSignal;
}

/**
 * @throws DotaError `usage`, `adapter.noTarget`, `adapter.shape`, `adapter.rank`, `run.stopped`,
 *   errors of reading and writing
 */
export async function runDecompose(args: DecomposeArgs, io: DecomposeIo): Promise<DecomposeReport> {
  const started = performance.now();
  const rank = rankOf(args);
  const source = await openWeightSource(args.path);
  try {
    const targets = targetsOf(source, args);
    const options = optionsOf(source, args, targets, rank);
    const failures: DecomposeReport['failures'][number][] = [];
    // A single matrix fails as a whole; of many, the others go on.
    const goOn = targets.length > 1;
    const results = await decomposeModel(source, targets, options, io.gemm, {
      ...(args.cacheFolder === undefined ? {} : { cacheFolder: args.cacheFolder }),
      ...(io.signal === undefined ? {} : { signal: io.signal }),
      onModule: (result, { done, total, key, cached }) => {
        report(args, io, {
          type: 'module',
          done,
          total,
          ...(key === undefined ? {} : { key }),
          cached,
          result: encodeDecomposition(result),
        });
        if (!args.stream) (args.json ? io.note : io.print)(line(result, done, total));
      },
      onSpectrum: throttled((module, share) => {
        report(args, io, { type: 'spectrum', module, share });
        if (!args.stream) io.note(`${module}: ${Math.floor(100 * share)} % of the whole spectrum`);
      }),
      ...(goOn
        ? {
            onFailure: (module: string, error: DotaError) => {
              failures.push({ module, error: error.toJSON() });
              report(args, io, { type: 'failure', module, error: error.toJSON() });
              io.note(`${module}: ${formatError(error.toJSON())}`);
            },
          }
        : {}),
    });
    if (args.out !== undefined) await writeCores(args.out, source, results, options, io.gemm);
    const summary: DecomposeReport = {
      modules: results.map(encodeDecomposition),
      failures,
      structure: rankByStructure(results),
      parameters: results.reduce((sum, r) => sum + r.parameters, 0),
      ...(args.out === undefined ? {} : { out: args.out }),
      seconds: (performance.now() - started) / 1000,
      peak_rss_mb: Math.round(peakRssMb()),
    };
    if (args.json) io.print(JSON.stringify(summary));
    else if (!args.stream) printSummary(results, summary, io);
    return summary;
  } finally {
    await source.close();
  }
}

/** At most one line in so many milliseconds. */
const SPECTRUM_MS = 500;

function throttled(
  tell: (module: string, share: number) => void,
): (module: string, share: number) => void {
  let last = performance.now();
  return (module, share) => {
    if (performance.now() - last < SPECTRUM_MS) return;
    last = performance.now();
    tell(module, share);
  };
}

function rankOf(args: DecomposeArgs): ModelDecomposeOptions['rank'] {
  const choices: (RankChoice | { budget: number })[] = [];
  if (args.rank !== undefined) choices.push({ r: args.rank });
  if (args.energy !== undefined) choices.push({ energy: args.energy });
  if (args.relativeError !== undefined) choices.push({ relativeError: args.relativeError });
  if (args.budget !== undefined) choices.push({ budget: args.budget });
  if (choices.length > 1)
    throw new DotaError('usage', 'Rank, energy, error and budget exclude one another.', {
      next: 'Give one of them.',
    });
  return choices[0] ?? defaultModelDecomposeOptions.rank;
}

/** The named tensors; else those of the plan; else the matrices of the decoder layers; else (a single file) all of them. */
function targetsOf(source: WeightSource, args: DecomposeArgs): string[] {
  if (args.tensors.length > 0) return [...args.tensors];
  if (args.plan !== undefined) return [...args.plan.keys()];
  const all = listMatrices(source).map((m) => m.module);
  const layers = all.filter((name) => /(^|\.)layers\.\d+\./.test(name));
  const targets = layers.length > 0 ? layers : all;
  if (targets.length === 0)
    throw new DotaError('adapter.noTarget', 'There is no matrix to decompose.', {
      where: args.path,
      next: 'Choose a model folder in Hugging Face layout or a .safetensors file with weights.',
    });
  return targets;
}

function optionsOf(
  source: WeightSource,
  args: DecomposeArgs,
  targets: readonly string[],
  rank: ModelDecomposeOptions['rank'],
): ModelDecomposeOptions {
  const defaults = defaultModelDecomposeOptions;
  const shape = explicitShape(args);
  const shapes: Record<string, MpoShape> = {};
  const ranks: Record<string, readonly number[]> = {};
  for (const target of targets) {
    const { module } = findMatrix(source, target);
    const own = args.plan?.get(target) ?? args.plan?.get(module);
    const wished = shape ?? own?.shape;
    if (wished !== undefined) shapes[module] = wished;
    if (own?.ranks !== undefined) ranks[module] = own.ranks;
  }
  return {
    cores: args.cores ?? defaults.cores,
    shapes,
    ranks,
    rank,
    orientation: args.orientation ?? defaults.orientation,
    gauge: args.gauge ?? defaults.gauge,
    seed: args.seed ?? defaults.seed,
    references: args.references ?? defaults.references,
    explicitError: true,
    exactMiddle: args.exactMiddle ?? defaults.exactMiddle,
  };
}

function explicitShape(args: DecomposeArgs): MpoShape | undefined {
  const { rowFactors, colFactors } = args;
  if (rowFactors === undefined && colFactors === undefined) return undefined;
  if (rowFactors === undefined || colFactors === undefined)
    throw new DotaError('usage', 'Row factors and column factors belong together.', {
      next: 'Give --rows and --cols, or --cores to have both chosen.',
    });
  if (args.cores !== undefined)
    throw new DotaError('usage', '--cores does not go with --rows and --cols.', {
      next: 'Give one or the other.',
    });
  return { rows: rowFactors, cols: colFactors };
}

function report(args: DecomposeArgs, io: DecomposeIo, event: DecomposeEvent): void {
  if (args.stream) io.print(JSON.stringify(event));
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

function line(result: ModuleDecomposition, done: number, total: number): string {
  const compression = result.parameters / (result.rows * result.cols);
  return (
    `[${done}/${total}] ${result.module} ${result.rows} x ${result.cols}: ` +
    `kept ${percent(result.keptEnergy)} with ${percent(compression)} of the parameters, ` +
    `${result.seconds.toFixed(2)} s`
  );
}

function printSummary(
  results: readonly ModuleDecomposition[],
  summary: DecomposeReport,
  io: DecomposeIo,
): void {
  if (results.length === 1 && results[0] !== undefined) {
    for (const text of details(results[0])) io.print(text);
  } else {
    const kinds = new Set(results.flatMap((r) => r.references.map((x) => x.kind)));
    io.print(
      kinds.size === 2
        ? 'Most structure first (energy kept beyond both references, no promise of better tuning):'
        : 'Most energy kept beyond a random matrix first (for structure proper, compare with both: ' +
            '--reference gaussian own_spectrum):',
    );
    for (const { module, score, keptEnergy } of summary.structure.slice(0, 10))
      io.print(`  ${module}: ${percent(score)} beyond, ${percent(keptEnergy)} kept`);
  }
  if (summary.out !== undefined) io.print(`Cores written to ${summary.out}.`);
  io.print(
    `${summary.parameters} parameters, ${summary.seconds.toFixed(1)} s, peak memory ${summary.peak_rss_mb} MB.`,
  );
}

function details(result: ModuleDecomposition): string[] {
  const pairs = result.rowFactors.map((i, k) => `${i}.${result.colFactors[k] ?? 1}`);
  const lines = [
    `Cores (i.j): ${pairs.join(' ')}`,
    ...result.bonds.map((bond, k) => {
      const values = Array.from(bond.spectrum.slice(0, 5), (s) => s.toPrecision(4));
      const kind = bond.exactSpectrum ? 'singular values' : 'lower bounds of singular values';
      return `Bond ${k + 1}: ${bond.dimension} of ${bond.fullDimension}, ${kind} ${values.join(', ')}, ...`;
    }),
    `Kept energy ${percent(result.keptEnergy)}, relative error ${result.relativeError.toPrecision(6)} predicted` +
      (result.explicitError === undefined
        ? '.'
        : `, ${result.explicitError.toPrecision(6)} by reconstruction.`),
  ];
  for (const reference of result.references) {
    const name =
      reference.kind === 'gaussian'
        ? 'a Gaussian matrix of this shape'
        : 'a random matrix with these singular values';
    lines.push(`At the same ranks ${name} keeps ${percent(reference.keptEnergy)}.`);
  }
  return lines;
}
