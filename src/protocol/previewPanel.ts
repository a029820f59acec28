/** Messages between the dataset preview and the extension host. */
import {
  rowFlags,
  type DatasetReport,
  type PreviewPage,
  type PreviewSettings,
  type RowFlag,
} from './datasetPreview';
import type { SerializedError } from './errors';
import { isBoolean, isNumber, isObject, isOneOf, isString } from './guards';

/** Rows on a page of the panel. */
export const pageSize = 20;

export const previewTemplates = ['auto', 'plain', 'alpaca', 'llm-adapters', 'chat'] as const;
export const previewMasks = ['completion', 'assistant', 'all'] as const;

/** What the panel may try without touching the configuration. */
export interface PreviewTrial {
  template: (typeof previewTemplates)[number];
  lossMask: (typeof previewMasks)[number];
  maxLength: number;
}

/** Where the rows come from, kept by the panel so that it can be restored. */
export interface PreviewSource {
  /** A `*.dota.json`, absolute. */
  config?: string;
  /** A dataset file, absolute; with a configuration, another one than its own. */
  data?: string;
  /** Model folder, where no configuration names one. */
  model?: string;
}

export type PreviewHostMessage =
  /** A new preview begins: what was shown is out of date. */
  | { type: 'init'; source: PreviewSource }
  | { type: 'settings'; settings: PreviewSettings }
  /** @param offset of the first row among all rows, or among those of the filter */
  | { type: 'page'; page: PreviewPage; filter?: RowFlag; offset: number }
  | { type: 'report'; report: DatasetReport }
  | { type: 'busy'; task: 'page' | 'count'; running: boolean; cancelled: boolean }
  | { type: 'error'; error: SerializedError };

export type PreviewViewMessage =
  | { type: 'ready' }
  | { type: 'page'; offset: number; filter?: RowFlag }
  | { type: 'cancel' }
  | { type: 'reload' }
  | { type: 'try'; trial: PreviewTrial }
  /** Show the row's line in an editor. */
  | { type: 'openRow'; line: number };

/** @returns undefined for anything that is no source */
export function parsePreviewSource(raw: unknown): PreviewSource | undefined {
  if (!isObject(raw)) return undefined;
  const text = (value: unknown): string | undefined => (isString(value) ? value : undefined);
  const [config, data, model] = [text(raw.config), text(raw.data), text(raw.model)];
  if (config === undefined && data === undefined) return undefined;
  return {
    ...(config === undefined ? {} : { config }),
    ...(data === undefined ? {} : { data }),
    ...(model === undefined ? {} : { model }),
  };
}

function isIndex(value: unknown): value is number {
  return isNumber(value) && Number.isSafeInteger(value) && value >= 0;
}

function parseTrial(raw: unknown): PreviewTrial | undefined {
  if (!isObject(raw)) return undefined;
  const { template, lossMask, maxLength } = raw;
  return isOneOf(previewTemplates, template) &&
    isOneOf(previewMasks, lossMask) &&
    isIndex(maxLength) &&
    maxLength > 0
    ? { template, lossMask, maxLength }
    : undefined;
}

/** Checks a message from the panel; undefined = not one of ours (the host ignores it). */
export function parsePreviewViewMessage(raw: unknown): PreviewViewMessage | undefined {
  if (!isObject(raw)) return undefined;
  switch (raw.type) {
    case 'ready':
    case 'cancel':
    case 'reload':
      return { type: raw.type };
    case 'page': {
      const { offset, filter } = raw;
      if (!isIndex(offset)) return undefined;
      if (filter === undefined) return { type: 'page', offset };
      return isOneOf(rowFlags, filter) ? { type: 'page', offset, filter } : undefined;
    }
    case 'try': {
      const trial = parseTrial(raw.trial);
      return trial && { type: 'try', trial };
    }
    case 'openRow':
      return isIndex(raw.line) ? { type: 'openRow', line: raw.line } : undefined;
    default:
      return undefined;
  }
}

/** A JSON line of `dota preview --stream`; undefined for any other line. */
export function parsePreviewEvent(
  line: string,
): { settings: PreviewSettings } | { page: PreviewPage } | { report: DatasetReport } | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(raw)) return undefined;
  if (isSettings(raw.settings)) return { settings: raw.settings };
  if (isPage(raw.page)) return { page: raw.page };
  return isReport(raw.report) ? { report: raw.report } : undefined;
}

function isSettings(value: unknown): value is PreviewSettings {
  return (
    isObject(value) &&
    [value.file, value.model, value.template, value.lossMask, value.truncation].every(isString) &&
    isNumber(value.maxLength)
  );
}

function isPage(value: unknown): value is PreviewPage {
  return (
    isObject(value) &&
    isNumber(value.start) &&
    isBoolean(value.more) &&
    Array.isArray(value.rows) &&
    value.rows.every(
      (row) =>
        isObject(row) &&
        isNumber(row.index) &&
        isNumber(row.line) &&
        Array.isArray(row.sequences) &&
        row.sequences.every((tokens) => Array.isArray(tokens) && tokens.every(isToken)) &&
        Array.isArray(row.remarks) &&
        row.remarks.every(isString),
    )
  );
}

function isToken(value: unknown): boolean {
  return (
    isObject(value) &&
    isString(value.text) &&
    isNumber(value.id) &&
    isBoolean(value.trained) &&
    isBoolean(value.special)
  );
}

function isReport(value: unknown): value is DatasetReport {
  return (
    isObject(value) &&
    isBoolean(value.partial) &&
    [value.fraction, value.rows, value.examples, value.tokens, value.lossTokens].every(isNumber) &&
    isNumber(value.longest) &&
    rowFlags.every((flag) => isNumber(value[flag])) &&
    isObject(value.flagged) &&
    Array.isArray(value.histogram)
  );
}

/** Checks a message from the host; undefined = not one of ours (the panel ignores it). */
export function parsePreviewHostMessage(raw: unknown): PreviewHostMessage | undefined {
  if (!isObject(raw)) return undefined;
  const ok = ((): boolean => {
    switch (raw.type) {
      case 'init':
        return parsePreviewSource(raw.source) !== undefined;
      case 'settings':
        return isSettings(raw.settings);
      case 'page':
        return (
          isPage(raw.page) &&
          isIndex(raw.offset) &&
          (raw.filter === undefined || isOneOf(rowFlags, raw.filter))
        );
      case 'report':
        return isReport(raw.report);
      case 'busy':
        return isOneOf(['page', 'count'], raw.task) && isBoolean(raw.running);
      case 'error':
        return isObject(raw.error) && isString(raw.error.message);
      default:
        return false;
    }
  })();
  return ok ? (raw as unknown as PreviewHostMessage) : undefined;
}
