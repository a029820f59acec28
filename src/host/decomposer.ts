/** Decompositions in a child process: `dota decompose`, with results as they come. */
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
  ): Promise<void> {
    const args = ['decompose', model.folder, ...request.modules, ...request.options];
    await this.trainer.command([...args, '--cache', this.cacheFolder, '--stream'], {
      signal,
      onLine: (line) => {
        const event = parseEvent(line);
        if (event?.result === undefined) return;
        this.models.addResult(model.folder, event.result, request.made);
        onResult(event.result);
      },
    });
  }
}

/**
 * The explorer's options as commands: modules with a shape of their own take one each.
 * @param references whether random matrices are decomposed beside, for comparison; takes twice the time more
 * @returns pairs of modules and arguments
 */
export function requestsOf(
  modules: readonly string[],
  options: DecomposeOptions,
  references = true,
): DecomposeRequest[] {
  const rule = [`--${options.rule}`, String(options.value)];
  const common = [
    ...rule,
    '--orientation',
    options.orientation,
    ...(options.exactMiddle ? ['--exact-middle'] : []),
    ...(references ? ['--reference', 'gaussian', 'own_spectrum'] : []),
  ];
  const shaped = modules.filter((module) => module in options.shapes);
  const others = modules.filter((module) => !(module in options.shapes));
  return [
    ...(others.length === 0
      ? []
      : [
          {
            modules: others,
            made: options,
            options: ['--cores', String(options.cores), ...common],
          },
        ]),
    ...shaped.map((module) => {
      const shape = options.shapes[module];
      const factors = [
        '--rows',
        (shape?.rows ?? []).join('x'),
        '--cols',
        (shape?.cols ?? []).join('x'),
      ];
      return { modules: [module], made: options, options: [...factors, ...common] };
    }),
  ];
}

/** A line of `--stream`: a result, or the failure of one module among several. */
export function parseEvent(
  line: string,
): { result?: ModuleDecomposition; failure?: string } | undefined {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(event)) return undefined;
  if (event.type === 'failure' && isString(event.module)) return { failure: event.module };
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
