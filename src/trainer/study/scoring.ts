/** The accuracy of a study's runs, by `dota evaluate`. */
import os from 'node:os';
import { isNumber, isObject } from '../../protocol/guards';
import type { CommandResult } from './childCommand';

export interface Score {
  correct: number;
  total: number;
}

/** Bytes a parameter of a model whose weights stand merged beside the base's, both in fp32. */
const MERGED_BYTES = 8;
/** Answers are read with a cache of keys and values; many rows share its fixed cost. */
const BATCH = 64;

/**
 * Arguments of the evaluation. By the machinery of sets, which merges the adapter and keeps keys and
 * values of what was read, it takes a fifth of the time; a model that has not the room for that is
 * asked as it was trained. The answers are the same greedy ones, up to rounding.
 */
export function scoringCommand(
  run: string,
  file: string,
  limit: number | undefined,
  modelParameters: number,
  memory = os.totalmem(),
): string[] {
  const merges = MERGED_BYTES * modelParameters <= memory / 4;
  return [
    ...['evaluate', run, '--data', file, '--no-loss'],
    ...(merges ? ['--num-beams', '1', '--batch-size', String(BATCH)] : []),
    ...(limit === undefined ? [] : ['--limit', String(limit)]),
  ];
}

/** What the evaluation found: one result in itself, or the first of several. */
export function scoreIn({ json }: Pick<CommandResult, 'json'>): Score | undefined {
  const results: unknown = json?.['results'];
  const score: unknown = Array.isArray(results) ? results[0] : json;
  return isObject(score) && isNumber(score.correct) && isNumber(score.total)
    ? { correct: score.correct, total: score.total }
    : undefined;
}
