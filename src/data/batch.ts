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
