/** Tokenized datasets on disk, by hash of tokenizer, data and every option that changes the ids. */
import type { DatasetReport } from '../protocol/datasetPreview';
import { isNumber, isObject } from '../protocol/guards';
import { tensorCacheKey, type TensorCache } from '../models/tensorCache';
import type { ExampleOptions } from './examples';
import { TokenizedSet } from './tokenizedSet';

/** Raised whenever encoding or layout changes what a key stands for. */
const FORMAT = 2;

export interface TokenizedFile {
  set: TokenizedSet;
  report: DatasetReport;
}

export interface TokenCacheOptions {
  cache: TensorCache;
  /** Identity of tokenizer and chat template. */
  tokenizerHash: string;
}

export interface TokenCacheInput {
  fileHash: string;
  options: ExampleOptions;
}

export class TokenCache {
  constructor(private readonly options: TokenCacheOptions) {}

  async read(input: TokenCacheInput): Promise<TokenizedFile | undefined> {
    const entry = await this.options.cache.read(this.key(input));
    const ids = entry?.tensors.get('input_ids')?.data;
    const mask = entry?.tensors.get('loss_mask')?.data;
    const lengths = entry?.tensors.get('lengths')?.data;
    const report = parseReport(entry?.metadata['report']);
    if (!(ids instanceof Int32Array && mask instanceof Uint8Array)) return undefined;
    if (!(lengths instanceof Int32Array) || report === undefined) return undefined;
    return { set: TokenizedSet.of(ids, mask, lengths), report };
  }

  async write(input: TokenCacheInput, { set, report }: TokenizedFile): Promise<void> {
    const { ids, mask, lengths } = set.flat();
    await this.options.cache.write(this.key(input), {
      tensors: new Map([
        ['input_ids', { dtype: 'I32', shape: [ids.length], data: ids }],
        ['loss_mask', { dtype: 'U8', shape: [mask.length], data: mask }],
        ['lengths', { dtype: 'I32', shape: [lengths.length], data: lengths }],
      ]),
      metadata: { report: JSON.stringify(report) },
    });
  }

  private key({ fileHash, options }: TokenCacheInput): string {
    const { template, lossMask, maxLength, truncation, splitLongText = false } = options;
    const settings = [template, lossMask, maxLength, truncation, splitLongText];
    return tensorCacheKey(['tokens', FORMAT, this.options.tokenizerHash, fileHash, settings]);
  }
}

function parseReport(text: string | undefined): DatasetReport | undefined {
  const raw: unknown = text === undefined ? undefined : JSON.parse(text);
  return isObject(raw) && isNumber(raw.rows) && isObject(raw.flagged)
    ? (raw as unknown as DatasetReport)
    : undefined;
}
