/** Where a comparison comes from, which is all that the compare panel remembers, and how it is read. */
import { readFile } from 'node:fs/promises';
import type { RunMonitor } from '../host/runMonitor';
import type { Trainer } from '../host/trainer';
import type { CompareHostMessage } from '../protocol/comparePanel';
import type { CompareRun } from '../protocol/comparison';
import { isObject, isString, isStringArray } from '../protocol/guards';

export type ComparisonSource =
  { kind: 'runs'; folders: readonly string[] } | { kind: 'study'; file: string };

export type Comparison = Omit<Extract<CompareHostMessage, { type: 'runs' }>, 'type'>;

/** Checks what the editor kept; undefined = nothing that can be shown. */
export function parseComparisonSource(raw: unknown): ComparisonSource | undefined {
  if (!isObject(raw)) return undefined;
  if (raw.kind === 'runs' && isStringArray(raw.folders))
    return { kind: 'runs', folders: raw.folders };
  if (raw.kind === 'study' && isString(raw.file)) return { kind: 'study', file: raw.file };
  return undefined;
}

/**
 * Runs are read from their folders, those that are gone left out; a study is read by the trainer.
 * @throws DotaError of the files, or where the trainer may not be started
 */
export async function readComparison(
  source: ComparisonSource,
  monitor: RunMonitor,
  trainer: Trainer,
): Promise<Comparison> {
  switch (source.kind) {
    case 'runs': {
      await monitor.ready();
      const [{ readCompareRun }, { runFolder }] = await Promise.all([
        import('../runs/compareRuns'),
        import('../runs/runFolder'),
      ]);
      const there = source.folders.filter((folder) => monitor.get(folder) !== undefined);
      return {
        title: 'Compare runs',
        runs: await Promise.all(there.map((folder) => readCompareRun(runFolder(folder)))),
      };
    }
    case 'study': {
      const { parseStudy } = await import('../study/parseStudy');
      const { name } = parseStudy(await readFile(source.file, 'utf8'), source.file);
      const { json } = await trainer.command(['study', source.file, '--results']);
      const { runs, note } = isObject(json) ? json : {};
      return {
        title: name,
        runs: Array.isArray(runs) ? (runs as CompareRun[]) : [],
        ...(isString(note) ? { note } : {}),
      };
    }
  }
}
