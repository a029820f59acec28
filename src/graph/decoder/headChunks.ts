/** How the head's work is cut, so that the logits of all tokens at once never exist. */
import type { DecoderConfig } from '../../models/modelConfig';
import { largestMatrixBytes } from './block';

/** Rows a chunk: enough for efficient products, few enough to waste little on the last one. */
const maxRows = 256;
const minRows = 16;
/** Bytes of the logits of one chunk; the graph holds about three tensors of that size. */
const maxLogitsBytes = 2 ** 26;
/** Bytes of the part of the projection that is widened at once where it stays in the file's type. */
const maxProjectionBytes = 2 ** 27;

/** Rows a chunk: `minRows` times a power of two, so that few sessions serve all batches. */
export function headRows(config: DecoderConfig, labelled: number, tokens: number): number {
  const affordable = maxLogitsBytes / 4 / config.vocabSize;
  const limit = Math.min(maxRows, affordable, tokens);
  let chunk = minRows;
  while (chunk < labelled && chunk * 2 <= limit) chunk *= 2;
  return chunk;
}

/**
 * Vocabulary entries whose rows of the projection are widened at once; a multiple of 64. They take no
 * more than a block's largest matrix, in whose place they are widened.
 */
export function streamedColumns(config: DecoderConfig): number {
  return columnsWithin(config, Math.min(maxProjectionBytes, largestMatrixBytes(config)));
}

function columnsWithin({ hiddenSize, vocabSize }: DecoderConfig, bytes: number): number {
  const affordable = Math.floor(bytes / 4 / hiddenSize / 64) * 64;
  return Math.min(vocabSize, Math.max(64, affordable));
}

/** Rows of a part of the vocabulary that fits a device's largest buffer as fp32. */
function slicedColumns(config: DecoderConfig, bufferBytes: number): number {
  const affordable = Math.floor(bufferBytes / 4 / config.hiddenSize);
  return Math.max(1, Math.min(columnsWithin(config, maxProjectionBytes), affordable));
}

/**
 * Rows of a part where a table of the vocabulary is larger than a device's largest buffer.
 * @returns undefined where it fits as it is, or no limit is known
 */
export function tableRows(
  config: DecoderConfig,
  bufferBytes: number | undefined,
): number | undefined {
  const fits = bufferBytes === undefined || 4 * config.vocabSize * config.hiddenSize <= bufferBytes;
  return fits ? undefined : slicedColumns(config, bufferBytes);
}

/**
 * Rows a chunk where the projection is streamed.
 * @param columns vocabulary entries a part
 * @param maxBytes of the logits of a chunk over a part
 */
export function streamedRows(
  config: DecoderConfig,
  labelled: number,
  columns = streamedColumns(config),
  maxBytes = maxLogitsBytes,
): number {
  const affordable = Math.max(minRows, Math.min(maxBytes, maxLogitsBytes) / 4 / columns);
  let chunk = minRows;
  while (chunk < labelled && chunk * 2 <= affordable) chunk *= 2;
  return chunk;
}

/** Numbers in the largest logits tensor. */
export function largestLogits(
  config: DecoderConfig,
  labelled: number,
  tokens: number,
  streamed: boolean,
): number {
  return streamed
    ? streamedRows(config, labelled) * streamedColumns(config)
    : headRows(config, labelled, tokens) * config.vocabSize;
}
