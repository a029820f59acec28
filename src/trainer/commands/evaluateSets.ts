/**
 * `dota evaluate MODEL --data ...` by the LLM-Adapters protocol: perplexity, and answers by beam
 * search or by log-likelihood, of a base model, of adapters, or of both.
 */
import path from 'node:path';
import { runConfigSchema } from '../../config/runConfig';
import { macroAverage } from '../../evaluation/interval';
import type { ScoredItem } from '../../evaluation/score';
import { latexTable, markdownTable, type TableRow } from '../../evaluation/table';
import { protocolBeams, taskGroupOf, taskGroups, type TaskGroup } from '../../evaluation/tasks';
import { DotaError } from '../../protocol/errors';
import type { SetEvaluation } from '../../protocol/evaluation';
import { writeFileAtomic } from '../../runs/atomicFile';
import { addEvaluations } from '../../runs/evaluations';
import type { RunFolder } from '../../runs/runFolder';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { evaluateSet } from '../evaluation/evaluateSet';
import { findSets } from '../evaluation/sets';
import { enableGarbageCollection } from '../garbageCollection';
import { GenerationSession } from '../generation/session';
import { findTarget } from '../training/target';
import type { EvaluateOptions } from './evaluate';
import { positiveOption } from './options';
import { printJson, printLine, table } from './output';
import { ProgressLine } from './progressLine';
import { stopOnSignal } from './stopSignal';

/** Rows at once, beams included. */
const DEFAULT_BATCH = 32;

/**
 * @param ownRun the run that stands in place of the model: it is its own adapter
 * @param also what else to say of the model in the JSON output
 * @throws DotaError
 */
export async function runEvaluateSets(
  what: string,
  options: EvaluateOptions,
  ownRun: RunFolder | undefined,
  also: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const limit = positiveOption('--limit', options.limit);
  const maxNewTokens = positiveOption('--max-new-tokens', options.maxNewTokens);
  const batchSize = positiveOption('--batch-size', options.batchSize) ?? DEFAULT_BATCH;
  const beams = positiveOption('--num-beams', options.numBeams);
  const sets = await findSets(options.data ?? [], options.task);
  await ensureComputeEnvironment();
  enableGarbageCollection();
  const stopped = stopOnSignal();
  const started = performance.now();
  const line = new ProgressLine();
  const checkpoint = options.checkpoint === 'none' ? 'best' : options.checkpoint;
  const session = await GenerationSession.open(what, {
    root: options.root,
    checkpoint,
    device: 'cpu',
    set: options.set,
    shouldStop: stopped,
  });
  const results: SetEvaluation[] = [];
  const outputs: (ScoredItem & { set: string; adapter: string | null; row: number })[] = [];
  try {
    // Without a run's own settings rows are rendered by what their fields suggest.
    const data =
      session.data ?? runConfigSchema.parse({ model: what, data: { train: 'none' } }).data;
    for (const adapter of adaptersOf(what, options, ownRun)) {
      const view = adapter === null ? session.base : await session.withAdapter(adapter);
      for (const { task, file } of sets) {
        const set = task?.id ?? path.basename(file);
        const { result, items } = await evaluateSet(session, view, {
          task,
          file,
          data: task === undefined ? data : { ...data, template: 'llm-adapters' },
          scoring: options.scoring,
          numBeams: beams ?? (task === undefined ? 1 : protocolBeams),
          maxNewTokens,
          limit,
          batchSize,
          loss: options.loss,
          shouldStop: stopped,
          onProgress: (done, total) => {
            const phase = 'evaluating';
            line.progress({ phase, step: 0, totalSteps: 0, epoch: 0, done, total });
          },
        });
        const named = { adapter, set, title: task?.title ?? set, ...result };
        results.push(named);
        outputs.push(...items.map((item, row) => ({ set, adapter, row, ...item })));
        line.line(sentence(named));
        // As soon as a set is done, so that a stop loses no more than the one at hand.
        await store(named, options, ownRun);
      }
    }
  } finally {
    line.end();
    await session.dispose();
  }
  if (options.outputs !== undefined) {
    const lines = outputs.map((item) => `${JSON.stringify(item)}\n`).join('');
    await writeFileAtomic(path.resolve(options.outputs), lines);
  }
  const averages = averagesOf(results);
  if (options.json === true) {
    const seconds = (performance.now() - started) / 1000;
    printJson({ model: what, ...also, results, averages, seconds });
  } else printTable(results, options.format ?? 'text');
}

/** The base and adapters that are evaluated, null for the base. */
function adaptersOf(
  what: string,
  { adapter, compare = false, checkpoint }: EvaluateOptions,
  ownRun: RunFolder | undefined,
): (string | null)[] {
  const own = adapter.length === 0 && ownRun !== undefined && checkpoint !== 'none' ? [what] : [];
  const adapters = [...own, ...adapter];
  return compare || adapters.length === 0 ? [null, ...adapters] : adapters;
}

/** Keeps a result with the run that it is about, if it is about one. */
async function store(
  result: SetEvaluation,
  options: EvaluateOptions,
  ownRun: RunFolder | undefined,
): Promise<void> {
  const run = result.adapter === null ? ownRun : await runOf(result.adapter, options);
  if (run === undefined) return;
  const checkpoint = result.adapter === null ? 'none' : options.checkpoint;
  await addEvaluations(run, [{ ...result, at: new Date().toISOString(), checkpoint }]);
}

/** undefined for an adapter folder, which stays as it is. */
async function runOf(what: string, options: EvaluateOptions): Promise<RunFolder | undefined> {
  try {
    return (await findTarget(what, { ...options, checkpoint: 'none' })).run;
  } catch (error) {
    if (error instanceof DotaError) return undefined;
    throw error;
  }
}

interface Average {
  adapter: string | null;
  group: TaskGroup;
  sets: number;
  accuracy: number;
  interval: readonly [number, number];
}

/** Means of different groups of sets would be another quantity than the papers' tables report. */
function averagesOf(results: readonly SetEvaluation[]): Average[] {
  return groupsOf(results).flatMap(({ group, results: ofGroup }) => {
    const scored = ofGroup.filter(({ total }) => total > 0);
    return [...new Set(scored.map(({ adapter }) => adapter))].map((adapter) => {
      const own = scored.filter((result) => result.adapter === adapter);
      const { accuracy, low, high } = macroAverage(own);
      return { adapter, group, sets: own.length, accuracy, interval: [low, high] as const };
    });
  });
}

function groupsOf(
  results: readonly SetEvaluation[],
): { group: TaskGroup; results: SetEvaluation[] }[] {
  return taskGroups
    .map((group) => ({ group, results: results.filter(({ set }) => taskGroupOf(set) === group) }))
    .filter(({ results: ofGroup }) => ofGroup.length > 0);
}

function printTable(
  results: readonly SetEvaluation[],
  format: 'text' | 'markdown' | 'latex',
): void {
  if (format === 'text') {
    printLine(textTable(results));
    return;
  }
  const tables = groupsOf(results).map(({ results: ofGroup }) => {
    const columns = [...new Set(ofGroup.map(({ title }) => title))];
    const rows = [...new Set(ofGroup.map(({ adapter }) => adapter))].map((adapter): TableRow => {
      const own = ofGroup.filter((result) => result.adapter === adapter);
      return {
        name: adapter === null ? 'base model' : path.basename(adapter),
        results: Object.fromEntries(own.map((result) => [result.title, result])),
      };
    });
    return format === 'markdown' ? markdownTable(rows, columns) : latexTable(rows, columns);
  });
  printLine(tables.join('\n\n'));
}

function textTable(results: readonly SetEvaluation[]): string {
  return table([
    ['model', 'set', 'accuracy', '95 % interval', 'correct', 'no answer', 'perplexity'],
    ...results.map((result) => [
      result.adapter === null ? 'base model' : path.basename(result.adapter),
      result.title,
      result.total === 0 ? '-' : percent(result.accuracy),
      result.total === 0 ? '-' : result.interval.map(percent).join(' - '),
      `${result.correct}/${result.total}`,
      String(result.unanswered),
      result.perplexity?.toFixed(3) ?? '-',
    ]),
  ]);
}

function sentence({ adapter, title, correct, total, accuracy, perplexity }: SetEvaluation): string {
  if (total === 0) return `${adapter ?? 'base model'}, ${title}: perplexity ${perplexity ?? '-'}`;
  return `${adapter ?? 'base model'}, ${title}: ${percent(accuracy)} (${correct} of ${total})`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
