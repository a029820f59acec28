/** What `dota generate` prints, for the editor and for scripts. */
import { isNumber, isObject, isString } from './guards';
import type { SerializedError } from './errors';
import { isPromptRequest, type PromptRequest } from './promptPanel';

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

/** What `dota serve-prompts` reads, a JSON line each. It answers one question at a time. */
export type ServeRequest =
  | {
      type: 'question';
      id: number;
      /** A model folder, or a run that stands for its base model. */
      model: string;
      /** Whose answers: runs or adapter folders, null for the base. */
      adapters: readonly (string | null)[];
      request: PromptRequest;
    }
  /** Ends the answers of this question with what there is. */
  | { type: 'stop'; id: number };

/** What it prints: `accepted` at once, `loaded` only where weights were read. */
export type ServeMessage =
  | { type: 'accepted'; id: number }
  | { type: 'loaded'; id: number; model: string }
  | { type: 'text'; id: number; index: number; text: string }
  | { type: 'answer'; id: number; index: number; answer: GenerateAnswer }
  | { type: 'done'; id: number }
  | { type: 'failed'; id: number; error: SerializedError };

const adaptersAtOnce = 8;

export function isServeRequest(value: unknown): value is ServeRequest {
  if (!isObject(value) || !isNumber(value.id)) return false;
  if (value.type === 'stop') return true;
  return (
    value.type === 'question' &&
    isString(value.model) &&
    Array.isArray(value.adapters) &&
    value.adapters.length > 0 &&
    value.adapters.length <= adaptersAtOnce &&
    value.adapters.every((adapter) => adapter === null || isString(adapter)) &&
    isPromptRequest(value.request)
  );
}

export function isServeMessage(value: unknown): value is ServeMessage {
  if (!isObject(value) || !isNumber(value.id)) return false;
  switch (value.type) {
    case 'loaded':
      return isString(value.model);
    case 'text':
    case 'answer':
      return isGenerateMessage(value);
    case 'accepted':
    case 'done':
      return true;
    case 'failed':
      return isObject(value.error) && isString(value.error.message) && isString(value.error.code);
    default:
      return false;
  }
}
