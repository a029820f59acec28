/** `dota preview`: what a configuration would train on, token by token, before any training. */
import path from 'node:path';
import type { RunConfig, RunConfigInput } from '../../config/runConfig';
import { exampleOptions, hashFile } from '../../data/prepare';
import { DatasetPreview } from '../../data/preview';
import { sniffFormat } from '../../data/readers/dataset';
import { TokenCache } from '../../data/tokenCache';
import { readModelConfig } from '../../models/config';
import { fingerprintTokenizer } from '../../models/modelFolder';
import { TensorCache } from '../../models/tensorCache';
import { loadTokenizer } from '../../models/tokenizer';
import type {
  DatasetReport,
  PreviewRow,
  PreviewSettings,
  PreviewToken,
} from '../../protocol/datasetPreview';
import { DotaError } from '../../protocol/errors';
import { cacheFolder } from '../training/cacheFolder';
import { resolveModel } from '../training/modelPath';
import { printJson, printLine } from './output';
import { configWithOverrides, loadRunConfig, type LoadedConfig } from './runConfigFile';

export interface PreviewOptions {
  set: string[];
  /** Another file than data.train. */
  data?: string;
  /** Where no configuration names one. */
  model?: string;
  start: string;
  rows: string;
  /** Rows by index, separated by commas, instead of a page. */
  index?: string;
  /** `--no-counts` */
  counts: boolean;
  /** A JSON line of the settings and one of the page, then one for each report; the last is complete. */
  stream?: boolean;
  json?: boolean;
}

/** @throws DotaError of the configuration, the tokenizer and the data */
export async function runPreview(file: string | undefined, options: PreviewOptions): Promise<void> {
  const start = whole('--start', options.start);
  const count = whole('--rows', options.rows);
  const indices = options.index?.split(',').map((text) => whole('--index', text));
  const { config, directory } = await configuration(file, options);
  const folder = resolveModel(config.model, directory);
  const { vocabSize } = await readModelConfig(folder);
  const tokenizer = await loadTokenizer(folder, vocabSize);
  const data =
    options.data === undefined
      ? path.resolve(directory, config.data.train)
      : path.resolve(options.data);
  const preview = new DatasetPreview(
    data,
    tokenizer,
    exampleOptions(config.data, await sniffFormat(data)),
  );
  if (options.stream === true) printJson({ settings: settingsOf(config, data) });
  const page = await (indices === undefined ? preview.page(start, count) : preview.rowsAt(indices));
  if (options.stream === true) printJson({ page });
  else if (options.json !== true) for (const row of page.rows) printRow(row);
  const onReport = (partial: DatasetReport): void => {
    if (options.stream === true) printJson({ report: partial });
  };
  const known = options.counts ? await cachedReport(config, directory, folder, data) : undefined;
  if (known !== undefined) onReport(known);
  const report = options.counts ? (known ?? (await preview.count(onReport))) : undefined;
  if (options.stream === true) return;
  if (options.json === true) printJson({ file: data, page, report: report ?? null });
  else if (report !== undefined) printReport(report);
}

/** Counts of an earlier run that has tokenized this very file with this tokenizer and these options. */
async function cachedReport(
  { data }: RunConfig,
  directory: string,
  model: string,
  file: string,
): Promise<DatasetReport | undefined> {
  const cache = new TensorCache(cacheFolder(directory));
  const tokens = new TokenCache({ cache, tokenizerHash: await fingerprintTokenizer(model) });
  const key = {
    fileHash: await hashFile(file),
    options: exampleOptions(data, await sniffFormat(file)),
  };
  return (await tokens.read(key))?.report;
}

/** The configuration named, or the defaults for a data file alone. */
async function configuration(
  file: string | undefined,
  options: PreviewOptions,
): Promise<Pick<LoadedConfig, 'config' | 'directory'>> {
  const sets = [
    ...(options.model === undefined ? [] : [`model=${JSON.stringify(options.model)}`]),
    ...options.set,
  ];
  if (file !== undefined) return loadRunConfig(file, sets);
  if (options.data === undefined) {
    throw new DotaError('usage', 'Name a configuration, or a file with --data.', {
      next: '"dota preview my.dota.json", or "dota preview --data rows.jsonl --model sample".',
    });
  }
  const input: RunConfigInput = { data: { train: path.resolve(options.data) } };
  return { config: configWithOverrides(input, sets, options.data), directory: process.cwd() };
}

function settingsOf({ model, data }: RunConfig, file: string): PreviewSettings {
  return {
    file,
    model,
    template: data.template,
    lossMask: data.loss_mask,
    maxLength: data.max_length,
    truncation: data.truncation,
  };
}

function whole(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new DotaError('usage', `${name} needs a number from 0, got "${text}".`);
}

/** Trained text stands in ⟦⟧, so that it is told apart without colours too. */
function printRow(row: PreviewRow): void {
  const remarks = row.remarks.length === 0 ? '' : `  (${row.remarks.join(' ')})`;
  printLine(`-- line ${row.line}${remarks}`);
  for (const tokens of row.sequences) printLine(marked(tokens));
}

function marked(tokens: readonly PreviewToken[]): string {
  let text = '';
  let trained = false;
  for (const token of tokens) {
    if (token.trained !== trained) text += token.trained ? '⟦' : '⟧';
    trained = token.trained;
    // Data may hold escape sequences; a terminal must not obey them.
    text += token.text.replace(/[^\P{Cc}\t\n]/gu, '\ufffd');
  }
  return trained ? `${text}⟧` : text;
}

function printReport(report: DatasetReport): void {
  printLine(
    `${report.rows} rows, ${report.examples} sequences, ${report.tokens} tokens, ` +
      `${report.lossTokens} of them trained on; longest ${report.longest}`,
  );
  const counts: [number, string][] = [
    [report.truncated, 'longer than max_length'],
    [report.empty, 'dropped: blank answer'],
    [report.withoutLabels, 'dropped: nothing left to learn'],
    [report.doubleBos, 'with a second BOS token, left out'],
    [report.specialText, 'spell a special token, kept as text'],
    [report.promptNotPrefix, 'where prompt and answer share a token when encoded together'],
  ];
  for (const [rows, what] of counts) if (rows > 0) printLine(`  ${rows} ${what}`);
}
