/** Reads, renders and tokenizes the datasets of a run, and splits off the validation set. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { RunConfig } from '../config/runConfig';
import { Rng } from '../core/rng';
import type { Tokenizer } from '../models/tokenizer';
import type { DatasetReport } from '../protocol/datasetPreview';
import { DotaError } from '../protocol/errors';
import { ExampleEncoder, requireRows, type ExampleOptions } from './examples';
import { readRows, sniffFormat } from './readers/dataset';
import { readChunks } from './readers/lines';
import { ReportBuilder } from './report';
import { TokenizedSet } from './tokenizedSet';

export interface PrepareOptions {
  /** Folder that relative paths refer to. */
  directory: string;
  /** Seeds the validation split. */
  seed: number;
  onProgress?: ((progress: { file: string; fraction: number }) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface PreparedData {
  train: TokenizedSet;
  /** Empty when there is neither a validation file nor a split. */
  validation: TokenizedSet;
  /** Over the training file, before the split. */
  trainReport: DatasetReport;
  validationReport: DatasetReport | undefined;
  /** For `RunFingerprint`. */
  trainHash: string;
  validationHash: string;
  dataPolicy: string;
}

/**
 * @throws DotaError `file.missing`, `file.unreadable`, `data.malformed`, `data.empty`,
 *   `template.failed`, `run.stopped`
 */
export async function prepareDataset(
  data: RunConfig['data'],
  tokenizer: Tokenizer,
  options: PrepareOptions,
): Promise<PreparedData> {
  const trainFile = path.resolve(options.directory, data.train);
  const all = await tokenizeFile(trainFile, tokenizer, data, options);
  requireRows(all.set.length, trainFile, 'The training file');
  const trainHash = await hashFile(trainFile);
  const shared = { trainReport: all.report, dataPolicy: dataPolicy(data) };
  if (data.validation !== undefined) {
    const file = path.resolve(options.directory, data.validation);
    const validation = await tokenizeFile(file, tokenizer, data, options);
    requireRows(validation.set.length, file, 'The validation file');
    return {
      ...shared,
      train: all.set,
      validation: validation.set,
      validationReport: validation.report,
      trainHash,
      validationHash: await hashFile(file),
    };
  }
  const split = splitIndices(all.set.length, data.validation_split, options.seed);
  const policy = `${trainHash}|split|${data.validation_split}|${options.seed}`;
  return {
    ...shared,
    train: all.set.select(split.train),
    validation: all.set.select(split.validation),
    validationReport: undefined,
    trainHash: createHash('sha256').update(`${policy}|train`).digest('hex'),
    validationHash: createHash('sha256').update(`${policy}|validation`).digest('hex'),
  };
}

/** Loss mask, template, length and truncation in one string; equal policies may be compared. */
export function dataPolicy(data: RunConfig['data']): string {
  const parts = [data.loss_mask, data.template, data.max_length, data.truncation];
  return [...parts, ...(data.packing ? ['packing'] : [])].join('|');
}

/** The encoding options that a configuration asks for. */
export function exampleOptions(
  data: RunConfig['data'],
  format: Awaited<ReturnType<typeof sniffFormat>>,
): ExampleOptions {
  return {
    template: data.template,
    lossMask: data.loss_mask,
    maxLength: data.max_length,
    truncation: data.truncation,
    splitLongText: format === 'text',
  };
}

async function tokenizeFile(
  file: string,
  tokenizer: Tokenizer,
  data: RunConfig['data'],
  options: PrepareOptions,
): Promise<{ set: TokenizedSet; report: DatasetReport }> {
  const encoder = new ExampleEncoder(tokenizer, exampleOptions(data, await sniffFormat(file)));
  const set = new TokenizedSet();
  const report = new ReportBuilder();
  const onProgress = (fraction: number): void => options.onProgress?.({ file, fraction });
  for await (const { row, line } of readRows(file, { onProgress, signal: options.signal })) {
    const encoded = encoder.encode(row, { file, line });
    for (const { inputIds, lossMask } of encoded.examples) {
      checkIds(inputIds, tokenizer, file, line);
      set.add(inputIds, lossMask);
    }
    report.add(encoded);
  }
  return { set, report: report.snapshot(1) };
}

function checkIds(ids: readonly number[], tokenizer: Tokenizer, file: string, line: number): void {
  for (const id of ids) {
    if (id >= 0 && id < tokenizer.vocabSize) continue;
    throw new DotaError('tokenizer.invalid', `The tokenizer gave the id ${id}.`, {
      where: `${file}:${line}`,
      next: 'Check that tokenizer and model belong together.',
    });
  }
}

/**
 * A seeded split: at least one sequence on each side where both are wanted and there are two.
 * Both lists are in file order.
 */
export function splitIndices(
  count: number,
  share: number,
  seed: number,
): { train: number[]; validation: number[] } {
  const wanted = share > 0 ? Math.max(1, Math.round(count * share)) : 0;
  const size = Math.min(wanted, count - 1);
  const chosen = new Set(new Rng(seed, 'data.split').permutation(count).subarray(0, size));
  const train: number[] = [];
  const validation: number[] = [];
  for (let i = 0; i < count; i++) (chosen.has(i) ? validation : train).push(i);
  return { train, validation };
}

/** SHA-256 of a file's bytes, in hex. @throws DotaError `file.missing`, `file.unreadable` */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of readChunks(file, {})) hash.update(chunk);
  return hash.digest('hex');
}
