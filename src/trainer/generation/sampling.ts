/** How the next token is chosen from logits. */
import { Rng } from '../../core/rng';

export interface SamplingOptions {
  /** Logits are divided by it; above 0. */
  temperature: number;
  /** Only this many most probable tokens; 0 = all. */
  topK: number;
  /** Only the most probable tokens that together reach this probability; 1 = all. */
  topP: number;
  seed: number;
}

/** Index of the largest value; the first one on ties, as PyTorch's argmax on CPU. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if ((values[i] as number) > (values[best] as number)) best = i;
  }
  return best;
}

/** Indices of the k largest values, largest first; on ties the first one. */
export function topIndices(values: ArrayLike<number>, k: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (best.length === k && value <= (values[best[k - 1] as number] as number)) continue;
    let at = best.length;
    while (at > 0 && (values[best[at - 1] as number] as number) < value) at--;
    best.splice(at, 0, i);
    if (best.length > k) best.pop();
  }
  return best;
}

/** Natural logarithms of the softmax, in fp64. */
export function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits[argmax(logits)] as number;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - largest);
  const shift = largest + Math.log(sum);
  return Float64Array.from(logits, (value) => value - shift);
}

/**
 * Tokens that may be drawn and their probabilities, most probable first. As in Hugging Face's
 * `generate`: temperature, then top_k, then top_p of what is left.
 */
export function candidates(
  logits: Float32Array,
  { temperature, topK, topP }: Omit<SamplingOptions, 'seed'>,
): { id: number; probability: number }[] {
  const scaled = logits.map((value) => value / temperature);
  const order =
    topK > 0
      ? topIndices(scaled, Math.min(topK, scaled.length))
      : [...scaled.keys()].sort((a, b) => (scaled[b] as number) - (scaled[a] as number));
  const kept = normalised(order, scaled);
  if (topP >= 1) return kept;
  let reached = 0;
  // The token that crosses the threshold belongs to the nucleus.
  const nucleus = kept.filter(({ probability }) => {
    const inside = reached < topP;
    reached += probability;
    return inside;
  });
  return normalised(
    nucleus.map(({ id }) => id),
    scaled,
  );
}

function normalised(ids: readonly number[], scores: Float32Array) {
  const largest = scores[ids[0] as number] as number;
  const weights = ids.map((id) => Math.exp((scores[id] as number) - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return ids.map((id, i) => ({ id, probability: (weights[i] as number) / sum }));
}

/**
 * Draws a token. The draw is a function of seed, sequence and step alone, so an answer can be
 * repeated whatever else was generated beside it.
 * @param sequence which of the prompts
 * @param step how many tokens the answer has
 */
export function sample(
  logits: Float32Array,
  options: SamplingOptions,
  sequence: number,
  step: number,
): number {
  const choices = candidates(logits, options);
  let rest = new Rng(options.seed, `generate ${sequence}`, step).uniform();
  for (const { id, probability } of choices) {
    rest -= probability;
    if (rest < 0) return id;
  }
  // Rounding can leave a rest; the last one with any probability takes it.
  return (choices.at(-1) as { id: number }).id;
}
