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
    const args = [
      'decompose',
      model.folder,
      ...request.modules,
      '--rank',
      String(request.rank),
      '--cores',
      String(request.cores),
      ...(request.extra ?? []),
      '--stream',
    ];
    await this.trainer.command(args, {
      signal,
      onLine: (line) => {
        const event = parseEvent(line);
        if (event?.result === undefined) return;
        this.models.addResult(model.folder, event.result);
        onResult(event.result);
      },
    });
  }
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
