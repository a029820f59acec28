/** How probable a model finds given texts. */
import type { CachedDecoder } from '../generation/cachedDecoder';
import { logSoftmax } from '../generation/sampling';
import type { WeightView } from '../generation/weightView';

export interface ScoredText {
  prompt: readonly number[];
  /** The tokens whose probability counts. */
  continuation: readonly number[];
}

/** Rows of final hidden states that are kept before their logits are computed. */
const MAX_ROWS = 64;

/**
 * Log-probability (nats) of each continuation after its prompt.
 * @param texts a batch; where a prompt is empty the first token has no condition and does not count
 */
export async function logLikelihoods(
  decoder: CachedDecoder,
  weights: WeightView,
  texts: readonly ScoredText[],
): Promise<{ logProbability: number; tokens: number }[]> {
  const results = texts.map(() => ({ logProbability: 0, tokens: 0 }));
  const rows = texts.map(({ prompt, continuation }) => [...prompt, ...continuation].slice(0, -1));
  const pending: { row: number; target: number; hidden: Float32Array }[] = [];
  const readable = rows.map((row, i) => ({ row, i })).filter(({ row }) => row.length > 0);
  if (readable.length === 0) return results;
  await decoder.append(
    weights,
    decoder.newCache(readable.length),
    readable.map(({ row }) => row),
    (batchRow, index, hidden) => {
      const row = readable[batchRow]?.i ?? 0;
      const { prompt, continuation } = texts[row] as ScoredText;
      const target = continuation[index + 1 - prompt.length];
      if (target !== undefined) pending.push({ row, target, hidden: hidden.slice() });
    },
  );
  const { hiddenSize, vocabSize } = decoder.config;
  for (let start = 0; start < pending.length; start += MAX_ROWS) {
    const part = pending.slice(start, start + MAX_ROWS);
    const stacked = new Float32Array(part.length * hiddenSize);
    part.forEach(({ hidden }, i) => {
      stacked.set(hidden, i * hiddenSize);
    });
    const logits = await decoder.logits(weights, stacked);
    part.forEach(({ row, target }, i) => {
      const own = logits.subarray(i * vocabSize, (i + 1) * vocabSize);
      const result = results[row] as { logProbability: number; tokens: number };
      result.logProbability += logSoftmax(own)[target] as number;
      result.tokens += 1;
    });
  }
  return results;
}
