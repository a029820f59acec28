/** Decompositions in a child process: `dota decompose`, with results as they come. */
import type { ModuleDecomposition, ModuleDecompositionJson } from '../protocol/decomposition';
import { decodeDecomposition } from '../protocol/decomposition';
import { isNumber, isObject, isString } from '../protocol/guards';
import type { ModelEntry } from '../views/modelTree';
import type { ModelList } from './modelList';
import type { Trainer } from './trainer';

export interface DecomposeRequest {
  /** Full module paths. */
  modules: readonly string[];
  /** Largest bond dimension. */
  rank: number;
  cores: number;
  /** More arguments of `dota decompose`. */
  extra?: readonly string[];
}

export class Decomposer {
  constructor(
    private readonly trainer: Trainer,
    private readonly models: ModelList,
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
    const seen = new Set<string>();
    const take = (raw: unknown): void => {
      const result = parseResult(raw);
      if (result === undefined || seen.has(result.module)) return;
      seen.add(result.module);
      this.models.addResult(model.folder, result);
      onResult(result);
    };
    const args = [
      'decompose',
      model.folder,
      '--modules',
      request.modules.join(','),
      '--rank',
      String(request.rank),
      '--cores',
      String(request.cores),
      ...(request.extra ?? []),
    ];
    const { json } = await this.trainer.command(args, {
      signal,
      onLine: (line) => {
        for (const raw of resultsIn(line)) take(raw);
      },
    });
    for (const raw of isObject(json) && Array.isArray(json.modules) ? json.modules : []) take(raw);
  }
}

/** A line is one result, or the closing object that repeats them all. */
function resultsIn(line: string): unknown[] {
  if (!line.startsWith('{')) return [];
  try {
    return [JSON.parse(line)];
  } catch {
    return [];
  }
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
