/** What all blocks need to know about a batch: rotary tables and the attention mask. */
import type { DecoderConfig } from '../../models/modelConfig';
import type { Batch } from '../engine';
import { inverseFrequencies } from '../../models/rope';

/**
 * Added to scores that must not count. exp() of it is exactly 0 in fp32, and a row of a padded
 * position still sees itself, so no softmax is ever 0 / 0.
 */
export const BLOCKED = -1e9;

export interface BatchContext {
  batch: number;
  sequence: number;
  /** `[batch * sequence, 1, headDim / 2]` */
  cos: Float32Array;
  sin: Float32Array;
  /** `[batch, 1, 1, sequence, sequence]` */
  mask: Float32Array;
}

export function batchContext(config: DecoderConfig, batch: Batch): BatchContext {
  return {
    batch: batch.batchSize,
    sequence: batch.sequenceLength,
    ...rotaryTables(config, batch.positionIds),
    mask: attentionMask(batch, config.slidingWindow ?? Infinity),
  };
}

/** Cosines and sines of the positions' angles, `[positions, 1, headDim / 2]` each. */
export function rotaryTables(
  config: DecoderConfig,
  positions: Int32Array,
): { cos: Float32Array; sin: Float32Array } {
  const frequencies = inverseFrequencies(config);
  const half = frequencies.length;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  for (let token = 0; token < positions.length; token++) {
    for (let i = 0; i < half; i++) {
      const angle = (positions[token] as number) * (frequencies[i] as number);
      cos[token * half + i] = Math.cos(angle);
      sin[token * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** Causal, within equal segment ids, at most `window` tokens back (the query itself included). */
function attentionMask(batch: Batch, window: number): Float32Array {
  const { batchSize, sequenceLength: length, segmentIds } = batch;
  const mask = new Float32Array(batchSize * length * length).fill(BLOCKED);
  for (let b = 0; b < batchSize; b++) {
    const segments = segmentIds.subarray(b * length, (b + 1) * length);
    for (let query = 0; query < length; query++) {
      const row = (b * length + query) * length;
      for (let key = Math.max(0, query - window + 1); key <= query; key++) {
        if (segments[key] === segments[query]) mask[row + key] = 0;
      }
    }
  }
  return mask;
}
