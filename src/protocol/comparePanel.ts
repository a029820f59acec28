/** Messages between the extension host and the compare panel; runs travel whole, they are small. */
import type { CompareRun } from './comparison';
import type { SerializedError } from './errors';
import { isNumber, isObject, isString } from './guards';

export type CompareHostMessage =
  | {
      type: 'runs';
      /** Name of the study, or of the choice of runs. */
      title: string;
      /** E.g. that a study is incomplete; also stands on exported figures. */
      note?: string;
      runs: readonly CompareRun[];
    }
  | { type: 'progress'; text: string; done: number; total: number }
  | { type: 'error'; error: SerializedError };

export type CompareViewMessage =
  | { type: 'ready' }
  /** Asks for other runs or a study. */
  | { type: 'choose' }
  | { type: 'export'; fileName: string; text: string };

/** @returns undefined for anything that is not one of ours */
export function parseCompareViewMessage(raw: unknown): CompareViewMessage | undefined {
  if (!isObject(raw)) return undefined;
  switch (raw.type) {
    case 'ready':
    case 'choose':
      return { type: raw.type };
    case 'export':
      return isString(raw.fileName) && isString(raw.text)
        ? { type: 'export', fileName: raw.fileName, text: raw.text }
        : undefined;
    default:
      return undefined;
  }
}

/** @returns undefined for anything that is not one of ours (the panel ignores it) */
export function parseCompareHostMessage(raw: unknown): CompareHostMessage | undefined {
  if (!isObject(raw)) return undefined;
  const ok = ((): boolean => {
    switch (raw.type) {
      case 'runs':
        return isString(raw.title) && Array.isArray(raw.runs) && raw.runs.every(isCompareRun);
      case 'progress':
        return isString(raw.text) && isNumber(raw.done) && isNumber(raw.total);
      case 'error':
        return isObject(raw.error) && isString(raw.error.message);
      default:
        return false;
    }
  })();
  return ok ? (raw as unknown as CompareHostMessage) : undefined;
}

function isCompareRun(value: unknown): value is CompareRun {
  if (!isObject(value) || !isObject(value.curve)) return false;
  const { step, tokens, elapsed, loss } = value.curve;
  return (
    isString(value.id) &&
    isString(value.name) &&
    isString(value.method) &&
    isObject(value.settings) &&
    isObject(value.facts) &&
    [step, tokens, elapsed, loss].every(Array.isArray)
  );
}
