/** Messages between the Try Prompt panel and the extension host. */
import { isBoolean, isNumber, isObject, isOneOf, isString, isStringArray } from './guards';

export const promptTemplates = ['raw', 'plain', 'alpaca', 'llm-adapters', 'chat'] as const;
export type PromptTemplate = (typeof promptTemplates)[number];

export interface PromptRequest {
  prompt: string;
  template: PromptTemplate;
  maxNewTokens: number;
  /** 0 = always the most probable token. */
  temperature: number;
}

export type PromptViewMessage =
  | { type: 'ready' }
  | { type: 'generate'; request: PromptRequest }
  | { type: 'stop' }
  /** Another run on the same base is to answer as well. */
  | { type: 'addRun' }
  | { type: 'removeSide'; index: number };

export type PromptHostMessage =
  /** `sides` are the titles of the answers, the base model's first; the others can be taken away. */
  | {
      type: 'init';
      title: string;
      sides: readonly string[];
      history: readonly string[];
      request: PromptRequest;
    }
  /** The whole text of an answer so far; `note` once it is complete. */
  | { type: 'text'; index: number; text: string; note: string }
  | { type: 'running'; running: boolean; history: readonly string[] }
  | { type: 'error'; message: string };

export const promptLimits = { maxNewTokens: 4096, temperature: 5, promptLength: 200_000 } as const;

export function isPromptRequest(value: unknown): value is PromptRequest {
  return (
    isObject(value) &&
    isString(value.prompt) &&
    value.prompt.length <= promptLimits.promptLength &&
    isOneOf(promptTemplates, value.template) &&
    isNumber(value.maxNewTokens) &&
    Number.isInteger(value.maxNewTokens) &&
    value.maxNewTokens >= 1 &&
    value.maxNewTokens <= promptLimits.maxNewTokens &&
    isNumber(value.temperature) &&
    value.temperature >= 0 &&
    value.temperature <= promptLimits.temperature
  );
}

export function parsePromptViewMessage(raw: unknown): PromptViewMessage | undefined {
  if (!isObject(raw)) return undefined;
  switch (raw.type) {
    case 'ready':
    case 'stop':
    case 'addRun':
      return { type: raw.type };
    case 'removeSide':
      return isNumber(raw.index) ? { type: 'removeSide', index: raw.index } : undefined;
    case 'generate':
      return isPromptRequest(raw.request) ? { type: 'generate', request: raw.request } : undefined;
    default:
      return undefined;
  }
}

export function parsePromptHostMessage(raw: unknown): PromptHostMessage | undefined {
  if (!isObject(raw)) return undefined;
  const ok = ((): boolean => {
    switch (raw.type) {
      case 'init':
        return (
          isString(raw.title) &&
          isStringArray(raw.sides) &&
          isStringArray(raw.history) &&
          isPromptRequest(raw.request)
        );
      case 'text':
        return isNumber(raw.index) && isString(raw.text) && isString(raw.note);
      case 'running':
        return isBoolean(raw.running) && isStringArray(raw.history);
      case 'error':
        return isString(raw.message);
      default:
        return false;
    }
  })();
  return ok ? (raw as unknown as PromptHostMessage) : undefined;
}
