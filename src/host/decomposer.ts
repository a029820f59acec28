/** Decompositions in a child process: `dota decompose`, with results as they come. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ModuleDecomposition } from '../protocol/decomposition';
import { parseDecomposition } from '../protocol/decomposition';
import {
  isTrainingMemory,
  type DecomposeOptions,
  type TrainingMemory,
} from '../protocol/explorerPanel';
import { isNumber, isObject, isString } from '../protocol/guards';
import type { ModelEntry } from '../views/modelTree';
import { stampOf, type DecompositionStore } from './decompositionStore';
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
  /** By model folder: the state of its files, and the end of reading what is known of it. */
  private readonly restored = new Map<string, { stamp: string; end: Promise<void> }>();

  private readonly memories = new Map<string, TrainingMemory>();

  /** @param store results by content, so that asking again and opening again cost nothing */
  constructor(
    private readonly trainer: Pick<Trainer, 'command'>,
    private readonly models: ModelList,
    private readonly store: DecompositionStore,
  ) {}

  /**
   * Shows in the Model view what an earlier window decomposed of this model, once; what was made from
   * files that have changed since is forgotten.
   */
  async restore(model: ModelEntry): Promise<void> {
    const { folder } = model;
    const stamp = await stampOf(folder);
    const before = this.restored.get(folder);
    if (before?.stamp === stamp) return before.end;
    if (before !== undefined) this.models.forgetResults(folder);
    const end = this.store.restore(folder, stamp).then((found) => {
      this.models.restoreResults(folder, found);
    });
    this.restored.set(folder, { stamp, end });
    return end;
  }

  /**
   * What training DoTA on this model takes, asked of the trainer once for each state of its files.
   * @throws DotaError in Restricted Mode, and for a model that cannot be trained
   */
  async trainingMemory(model: ModelEntry): Promise<TrainingMemory | undefined> {
    const key = `${model.folder}|${await stampOf(model.folder)}`;
    const known = this.memories.get(key);
    if (known !== undefined) return known;
    const { json } = await this.trainer.command(['memory', model.folder]);
    const training = isObject(json) ? json.training : undefined;
    if (!isTrainingMemory(training)) return undefined;
    this.memories.set(key, training);
    return training;
  }

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
      const stamp = await stampOf(model.folder);
      const args = ['decompose', model.folder, ...request.modules, ...request.options];
      if (folder !== undefined) {
        const file = path.join(folder, 'plan.json');
        await writeFile(file, JSON.stringify(plan));
        args.push('--plan', file);
      }
      await this.trainer.command([...args, '--cache', this.store.folder, '--stream'], {
        signal,
        onLine: (line) => {
          const event = parseEvent(line);
          if (event?.spectrum !== undefined)
            onSpectrum?.(event.spectrum.module, event.spectrum.share);
          if (event?.result === undefined) return;
          const { key, result } = event;
          const { kept, isNew } = this.models.addResult(model.folder, result, request.made);
          if (key !== undefined && isNew)
            this.store.remember(model.folder, stamp, key, result.module, request.made);
          onResult(kept);
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
      /** Name of the result in the cache. */
      key?: string;
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
  const result = event.type === 'module' ? parseDecomposition(event.result) : undefined;
  if (result === undefined) return undefined;
  return isString(event.key) ? { result, key: event.key } : { result };
}
