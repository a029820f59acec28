/** What `dota generate` prints, for the editor and for scripts. */
import { isNumber, isObject, isString } from './guards';

export interface GenerateAnswer {
  /** As named on the command line; null is the base model. */
  adapter: string | null;
  /** Up to the first stop string. */
  text: string;
  /** Without the end token. */
  token_ids: readonly number[];
  finish: 'eos' | 'stop' | 'length' | 'stopped';
  seconds: number;
  tokens_per_second: number;
}

/** With `--stream`, JSON lines before the result. */
export type GenerateMessage =
  /** The whole text of an answer so far. */
  | { type: 'text'; index: number; text: string }
  | { type: 'answer'; index: number; answer: GenerateAnswer };

export function isGenerateMessage(value: unknown): value is GenerateMessage {
  if (!isObject(value) || !isNumber(value.index)) return false;
  if (value.type === 'text') return isString(value.text);
  return value.type === 'answer' && isObject(value.answer) && isString(value.answer.text);
}
