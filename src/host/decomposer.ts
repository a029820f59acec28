/** Decompositions in a child process: `dota decompose`, with results as they come. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ModuleDecomposition, ModuleDecompositionJson } from '../protocol/decomposition';
import { decodeDecomposition } from '../protocol/decomposition';
import type { DecomposeOptions } from '../protocol/explorerPanel';
import { isNumber, isObject, isString } from '../protocol/guards';
import type { ModelEntry } from '../views/modelTree';
import type { ModelList } from './modelList';
import type { Trainer } from './trainer';

export interface DecomposeRequest {
  /** Full module paths. */
  modules: readonly string[];
  /** What was asked for, to be kept beside the results. */
  made: DecomposeOptions;
  /** Options of `dota decompose`, e.g. `['--rank', '8']`. */
  options: readonly string[];
  /** Shapes and ranks of single modules; `--plan` of `dota decompose`. */
  plan?: Record<
    string,
    { rows?: readonly number[]; cols?: readonly number[]; ranks?: readonly number[] }
  >;
}

export class Decomposer {
  /** @param cacheFolder results by content, so that asking again costs nothing */
  constructor(
    private readonly trainer: Trainer,
    private readonly models: ModelList,
    private readonly cacheFolder: string,
  ) {}

  /**
   * Decomposes modules of a model and puts each result into the Model view.
   * @throws DotaError what the command reported, `run.stopped` when cancelled
   */
  async run(
    model: ModelEntry,
    request: DecomposeRequest,
    signal: AbortSignal,
    onResult: (result: ModuleDecomposition) => void,
    onSpectrum?: (module: string, share: number) => void,
  ): Promise<void> {
    const { plan } = request;
    const folder = plan === undefined ? undefined : await mkdtemp(path.join(tmpdir(), 'dota-'));
    try {
      const args = ['decompose', model.folder, ...request.modules, ...request.options];
      if (folder !== undefined) {
        const file = path.join(folder, 'plan.json');
        await writeFile(file, JSON.stringify(plan));
        args.push('--plan', file);
      }
      await this.trainer.command([...args, '--cache', this.cacheFolder, '--stream'], {
        signal,
        onLine: (line) => {
          const event = parseEvent(line);
          if (event?.spectrum !== undefined)
            onSpectrum?.(event.spectrum.module, event.spectrum.share);
          if (event?.result === undefined) return;
          this.models.addResult(model.folder, event.result, request.made);
          onResult(event.result);
        },
      });
    } finally {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    }
  }
}

/**
 * The explorer's options as a command; shapes and ranks of single modules go into its plan.
 * @param references whether random matrices are decomposed beside, for comparison; takes twice the time more
 */
export function requestOf(
  modules: readonly string[],
  options: DecomposeOptions,
  references = true,
): DecomposeRequest {
  const plan: NonNullable<DecomposeRequest['plan']> = {};
  for (const module of modules) {
    const shape = options.shapes[module];
    const ranks = options.ranks[module];
    if (shape === undefined && ranks === undefined) continue;
    plan[module] = { ...shape, ...(ranks === undefined ? {} : { ranks }) };
  }
  return {
    modules,
    made: options,
    options: [
      '--cores',
      String(options.cores),
      `--${options.rule}`,
      String(options.value),
      '--orientation',
      options.orientation,
      ...(options.exactMiddle ? ['--exact-middle'] : []),
      ...(references ? ['--reference', 'gaussian', 'own_spectrum'] : []),
    ],
    ...(Object.keys(plan).length === 0 ? {} : { plan }),
  };
}

/** A line of `--stream`: a result, or the failure of one module among several. */
export function parseEvent(line: string):
  | {
      result?: ModuleDecomposition;
      failure?: string;
      spectrum?: { module: string; share: number };
    }
  | undefined {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(event)) return undefined;
  if (event.type === 'failure' && isString(event.module)) return { failure: event.module };
  if (event.type === 'spectrum' && isString(event.module) && isNumber(event.share))
    return { spectrum: { module: event.module, share: event.share } };
  const result = event.type === 'module' ? parseResult(event.result) : undefined;
  return result === undefined ? undefined : { result };
}

/** @returns undefined for anything that is no result */
export function parseResult(raw: unknown): ModuleDecomposition | undefined {
  if (!isObject(raw) || !isString(raw.module) || !isNumber(raw.keptEnergy)) return undefined;
  const wellFormed =
    Array.isArray(raw.cores) &&
    Array.isArray(raw.bonds) &&
    Array.isArray(raw.references) &&
    raw.bonds.every((b) => isObject(b) && isNumber(b.dimension) && Array.isArray(b.spectrum));
  return wellFormed ? decodeDecomposition(raw as unknown as ModuleDecompositionJson) : undefined;
}
