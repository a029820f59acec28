/** What the training loop feeds to the engine. */

/** One micro-batch; sequences are right-padded or packed. All arrays are `[batch, seq]`, row-major. */
export interface Batch {
  batchSize: number;
  sequenceLength: number;
  inputIds: Int32Array;
  /** Already shifted: `labels[b, t]` is the target predicted at position t; -100 is ignored. */
  labels: Int32Array;
  /** RoPE positions; restart at 0 in every packed sequence. */
  positionIds: Int32Array;
  /** Attention stays within equal ids (and is causal); 0 marks padding. */
  segmentIds: Int32Array;
  /** Number of labels that are not -100. */
  lossTokens: number;
  /** Number of positions that are not padding. */
  tokens: number;
}

/** The label that the loss ignores. */
export const ignoredLabel = -100;

/** The same rows in parts of at most `rows` each; the padding stays. */
export function splitBatch(batch: Batch, rows: number): Batch[] {
  const { batchSize, sequenceLength } = batch;
  if (batchSize <= rows) return [batch];
  return Array.from({ length: Math.ceil(batchSize / rows) }, (_, part): Batch => {
    const first = part * rows;
    const last = Math.min(batchSize, first + rows);
    const cut = (values: Int32Array): Int32Array =>
      values.subarray(first * sequenceLength, last * sequenceLength);
    const labels = cut(batch.labels);
    const segmentIds = cut(batch.segmentIds);
    return {
      batchSize: last - first,
      sequenceLength,
      inputIds: cut(batch.inputIds),
      labels,
      positionIds: cut(batch.positionIds),
      segmentIds,
      lossTokens: labels.reduce((count, label) => count + (label === ignoredLabel ? 0 : 1), 0),
      tokens: segmentIds.reduce((count, segment) => count + (segment === 0 ? 0 : 1), 0),
    };
  });
}
