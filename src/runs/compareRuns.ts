/** Reads runs for a comparison: manifest and validation curve. */
import { comparisonFacts } from '../compare/comparable';
import { methodTitle } from '../compare/methodTitle';
import type { CompareRun, EvalCurve } from '../protocol/comparison';
import { isNumber, isObject } from '../protocol/guards';
import { JournalReader } from './journalReader';
import { readManifest } from './manifest';
import type { RunFolder } from './runFolder';

/** @throws DotaError `file.missing`, `run.corrupt`, `file.unreadable` */
export async function readCompareRun(folder: RunFolder): Promise<CompareRun> {
  const manifest = await readManifest(folder);
  const journal = new JournalReader(folder.journal);
  await journal.read();
  const column = (name: keyof EvalCurve): number[] => Array.from(journal.evals.column(name));
  const curve = {
    step: column('step'),
    tokens: column('tokens'),
    elapsed: column('elapsed'),
    loss: column('loss'),
  };
  const score = manifest.evaluation?.test;
  const { best, last, trainable, timing, peakRssMb } = manifest;
  return {
    id: folder.id,
    name: manifest.name,
    state: manifest.state,
    method: methodTitle(manifest.config),
    seed: seedOf(manifest.config),
    settings: settingsOf(manifest.config),
    facts: comparisonFacts(manifest, score && manifest.fingerprint?.evaluationData),
    curve,
    ...(best === undefined ? {} : { best: { step: best.step, loss: best.validationLoss } }),
    ...(last?.validationLoss === undefined ? {} : { last: last.validationLoss }),
    ...(trainable === undefined ? {} : { parameters: trainable.parameters }),
    ...(peakRssMb === undefined ? {} : { peakRssMb }),
    ...(timing === undefined
      ? {}
      : { tokensPerSecond: timing.tokensPerSecond, seconds: timing.seconds }),
    ...(score && { accuracy: { split: 'test', correct: score.correct, total: score.total } }),
  };
}

function seedOf(config: unknown): number {
  const training = isObject(config) ? config.training : undefined;
  return isObject(training) && isNumber(training.seed) ? training.seed : 0;
}

/** Keys that name a run or its place, not what it computes. */
const unrelated = new Set(['$schema', 'name', 'output_dir', 'training.seed']);
/** Values that are maps themselves and are compared whole. */
const maps = new Set(['adapter.rank_pattern', 'adapter.mpo_shapes']);

/** Configuration as dotted key -> JSON, without name, seed and output folder. */
export function settingsOf(config: unknown): Record<string, string> {
  const settings: Record<string, string> = {};
  const visit = (value: unknown, key: string): void => {
    if (isObject(value) && !maps.has(key)) {
      for (const [name, inner] of Object.entries(value)) {
        visit(inner, key === '' ? name : `${key}.${name}`);
      }
    } else if (value !== undefined && !unrelated.has(key)) {
      settings[key] = JSON.stringify(value);
    }
  };
  visit(config, '');
  return settings;
}
