/** A tiny model and batches for the engine's tests. */
import type { DecoderConfig } from '../../../src/models/modelConfig';
import type { Batch } from '../../../src/trainer/engine';
import { Rng } from '../../../src/core/rng';

export const tinyConfig: DecoderConfig = {
  architecture: 'llama',
  hiddenSize: 24,
  intermediateSize: 40,
  numLayers: 2,
  numHeads: 4,
  numKeyValueHeads: 2,
  headDim: 6,
  vocabSize: 50,
  maxPositionEmbeddings: 64,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  ropeScaling: undefined,
  tieWordEmbeddings: false,
  attentionBias: { qkv: false, o: false },
  mlpBias: false,
  queryKeyNorm: false,
  slidingWindow: undefined,
  initializerRange: 0.2,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: undefined,
};

/** Random rows of the given lengths, right-padded to the longest; the first two labels ignored. */
export function randomBatch(config: DecoderConfig, lengths: readonly number[], seed = 1): Batch {
  const rng = new Rng(seed, 'test batch');
  const sequenceLength = Math.max(...lengths);
  const size = lengths.length * sequenceLength;
  const batch: Batch = {
    batchSize: lengths.length,
    sequenceLength,
    inputIds: new Int32Array(size),
    labels: new Int32Array(size).fill(-100),
    positionIds: new Int32Array(size),
    segmentIds: new Int32Array(size),
    lossTokens: 0,
    tokens: 0,
  };
  lengths.forEach((length, row) => {
    const ids = Array.from({ length: length + 1 }, () => rng.integer(config.vocabSize));
    for (let t = 0; t < length; t++) {
      const at = row * sequenceLength + t;
      batch.inputIds[at] = ids[t]!;
      batch.positionIds[at] = t;
      batch.segmentIds[at] = 1;
      batch.tokens++;
      if (t < 2) continue;
      batch.labels[at] = ids[t + 1]!;
      batch.lossTokens++;
    }
  });
  return batch;
}
