/** Results of `dota evaluate`, as it prints them and as a run keeps them. */
import { isNumber, isObject, isString } from './guards';

/** One set, one model. */
export interface SetEvaluation {
  /** As named on the command line; null is the base model. */
  adapter: string | null;
  /** Id of the set, or the file's name. */
  set: string;
  title: string;
  file: string;
  scoring: 'generate' | 'loglikelihood';
  /** null for log-likelihoods. */
  num_beams: number | null;
  correct: number;
  total: number;
  accuracy: number;
  /** 95 %, Wilson's. */
  interval: readonly [number, number];
  /** Responses in which the rule found no answer; they count as wrong. */
  unanswered: number;
  /** Mean negative log-likelihood of the expected answers' tokens, nats. */
  loss: number | null;
  perplexity: number | null;
  /** Tokens that `loss` is a mean over. */
  tokens: number;
}

/** `evaluations.json` of a run. */
export interface StoredEvaluation extends SetEvaluation {
  /** ISO 8601. */
  at: string;
  /** `best`, `last` or a step, as asked for; `none` for the base model. */
  checkpoint: string;
}

export function isStoredEvaluation(value: unknown): value is StoredEvaluation {
  return (
    isObject(value) &&
    isString(value.at) &&
    isString(value.checkpoint) &&
    isString(value.set) &&
    isString(value.title) &&
    isString(value.scoring) &&
    isNumber(value.correct) &&
    isNumber(value.total) &&
    isNumber(value.accuracy) &&
    Array.isArray(value.interval) &&
    value.interval.length === 2 &&
    value.interval.every(isNumber)
  );
}
