/** Reads runs for a comparison: manifest, validation curve, and scores that stand beside the run. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { comparisonFacts } from '../compare/comparable';
import { methodTitle } from '../compare/methodTitle';
import type { CompareRun, EvalCurve } from '../protocol/comparison';
import { isNumber, isObject, isString } from '../protocol/guards';
import type { RunManifest } from '../protocol/runFiles';
import { JournalReader } from './journalReader';
import { readManifest } from './manifest';
import type { RunFolder } from './runFolder';

/** `scores.json`: what a study measured of a run after its training. */
export interface RunScores {
  validation?: { correct: number; total: number };
  test?: { correct: number; total: number; dataHash: string };
}

export function scoresFile(folder: RunFolder): string {
  return path.join(folder.path, 'scores.json');
}

/** What stands in `scores.json`; a broken or missing file counts as nothing measured. */
export async function readScores(folder: RunFolder): Promise<RunScores> {
  try {
    const raw: unknown = JSON.parse(await readFile(scoresFile(folder), 'utf8'));
    if (!isObject(raw)) return {};
    const { validation, test } = raw;
    return {
      ...(isCount(validation) ? { validation } : {}),
      ...(isCount(test) && 'dataHash' in test && isString(test.dataHash)
        ? { test: { ...test, dataHash: test.dataHash } }
        : {}),
    };
  } catch {
    return {};
  }
}

function isCount(value: unknown): value is { correct: number; total: number } {
  return isObject(value) && isNumber(value.correct) && isNumber(value.total) && value.total > 0;
}

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
  const accuracy = accuracyOf(manifest, await readScores(folder));
  const { best, last, trainable, timing, peakRssMb } = manifest;
  return {
    id: folder.id,
    name: manifest.name,
    state: manifest.state,
    method: methodTitle(manifest.config),
    seed: seedOf(manifest.config),
    settings: settingsOf(manifest.config),
    facts: comparisonFacts(manifest, accuracy?.dataHash),
    curve,
    ...(best === undefined ? {} : { best: { step: best.step, loss: best.validationLoss } }),
    ...(last?.validationLoss === undefined ? {} : { last: last.validationLoss }),
    ...(trainable === undefined ? {} : { parameters: trainable.parameters }),
    ...(peakRssMb === undefined ? {} : { peakRssMb }),
    ...(timing === undefined
      ? {}
      : { tokensPerSecond: timing.tokensPerSecond, seconds: timing.seconds }),
    ...(accuracy === undefined ? {} : { accuracy: accuracy.score }),
  };
}

interface Accuracy {
  score: NonNullable<CompareRun['accuracy']>;
  dataHash: string | undefined;
}

/** The test file's where it was scored, else the validation file's. */
function accuracyOf(manifest: RunManifest, scores: RunScores): Accuracy | undefined {
  if (scores.test !== undefined) {
    const { correct, total, dataHash } = scores.test;
    return { score: { split: 'test', correct, total }, dataHash };
  }
  const own = manifest.evaluation?.test;
  if (own !== undefined) {
    return {
      score: { split: 'test', correct: own.correct, total: own.total },
      dataHash: manifest.fingerprint?.evaluationData,
    };
  }
  if (scores.validation === undefined) return undefined;
  return {
    score: { split: 'validation', ...scores.validation },
    dataHash: manifest.fingerprint?.validationData,
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

function settingsOf(config: unknown): Record<string, string> {
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
