/** The evaluations that a run keeps, in `evaluations.json`. */
import { readFile } from 'node:fs/promises';
import { isStoredEvaluation, type StoredEvaluation } from '../protocol/evaluation';
import { runFileError, writeFileAtomic } from './atomicFile';
import type { RunFolder } from './runFolder';

/** Oldest first. Entries that are none (another version's, a damaged file) are left out. */
export async function readEvaluations(run: RunFolder): Promise<StoredEvaluation[]> {
  let text: string;
  try {
    text = await readFile(run.evaluations, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw runFileError(cause, run.evaluations);
  }
  try {
    const raw: unknown = JSON.parse(text);
    return Array.isArray(raw) ? raw.filter(isStoredEvaluation) : [];
  } catch {
    return [];
  }
}

/**
 * Adds results. An earlier one of the same set, checkpoint, model and scoring is replaced.
 * @throws DotaError `file.diskFull`, `file.unreadable`
 */
export async function addEvaluations(
  run: RunFolder,
  added: readonly StoredEvaluation[],
): Promise<void> {
  const key = ({ set, file, checkpoint, adapter, scoring, num_beams }: StoredEvaluation): string =>
    JSON.stringify([set, file, checkpoint, adapter, scoring, num_beams]);
  const replaced = new Set(added.map(key));
  const kept = (await readEvaluations(run)).filter((one) => !replaced.has(key(one)));
  await writeFileAtomic(run.evaluations, `${JSON.stringify([...kept, ...added], null, 2)}\n`);
}
