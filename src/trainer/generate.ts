/** Greedy continuation of several prompts at once. */
import { paddedLength } from '../data/paddedLength';
import type { Batch, Engine } from './engine';

/** Of the lengths that a growing batch is padded to: each is a set of graphs to compile. */
const MIN_STEP = 16;

/** Right-padded rows without labels; padding has segment id 0. */
function promptBatch(rows: readonly (readonly number[])[], sequenceLength: number): Batch {
  const size = rows.length * sequenceLength;
  const batch: Batch = {
    batchSize: rows.length,
    sequenceLength,
    inputIds: new Int32Array(size),
    labels: new Int32Array(size).fill(-100),
    positionIds: new Int32Array(size),
    segmentIds: new Int32Array(size),
    lossTokens: 0,
    tokens: 0,
  };
  rows.forEach((row, b) => {
    row.forEach((id, t) => {
      const at = b * sequenceLength + t;
      batch.inputIds[at] = id;
      batch.positionIds[at] = t;
      batch.segmentIds[at] = 1;
    });
    batch.tokens += row.length;
  });
  return batch;
}

/** Index of the largest logit of row b; the first one on ties, as PyTorch's argmax on CPU. */
function argmax(logits: Float32Array, b: number, vocabSize: number): number {
  let best = 0;
  let bestValue = -Infinity;
  for (let v = 0; v < vocabSize; v++) {
    const value = logits[b * vocabSize + v] as number;
    if (value > bestValue) {
      bestValue = value;
      best = v;
    }
  }
  return best;
}

/**
 * Generates greedily until an end token or `maxNewTokens`.
 * @param prompts token ids, one array a prompt, none empty
 * @returns the new token ids of each prompt, without the end token
 */
export async function generateGreedy(
  engine: Engine,
  prompts: readonly (readonly number[])[],
  eosTokenIds: readonly number[],
  maxNewTokens: number,
  shouldStop: () => boolean = () => false,
): Promise<number[][]> {
  const results: number[][] = prompts.map(() => []);
  const finished = prompts.map(() => false);
  for (let n = 0; n < maxNewTokens && finished.includes(false) && !shouldStop(); n++) {
    // Finished rows stay in the batch: each (batch, seq) shape is a set of graphs to compile, which
    // costs more than the rows do.
    const rows = prompts.map((prompt, i) => [...prompt, ...(results[i] ?? [])]);
    const longest = Math.max(...rows.map((row) => row.length));
    const batch = promptBatch(rows, paddedLength(longest, Infinity, MIN_STEP));
    const positions = Int32Array.from(rows, (row) => row.length - 1);
    const logits = await engine.logits(batch, positions);
    const vocabSize = logits.length / rows.length;
    rows.forEach((_, i) => {
      if (finished[i] === true) return;
      const id = argmax(logits, i, vocabSize);
      if (eosTokenIds.includes(id)) finished[i] = true;
      else results[i]?.push(id);
    });
  }
  return results;
}
