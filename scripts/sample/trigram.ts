/**
 * An interpolated trigram model over the same token ids: what counting alone reaches. A pretrained
 * model that isn't clearly below this loss has learned nothing but local frequencies.
 */

/** Documents as token ids, begin and end tokens included; the first token is never a target. */
export type Documents = readonly (readonly number[])[];

interface Counts {
  total: number;
  next: Map<number, number>;
}

export class TrigramModel {
  private readonly bigrams = new Map<number, Counts>();
  private readonly trigrams = new Map<number, Counts>();
  private readonly unigrams: Counts = { total: 0, next: new Map() };
  private readonly vocabularySize: number;

  constructor(documents: Documents, vocabularySize: number) {
    this.vocabularySize = vocabularySize;
    for (const tokens of documents) {
      for (let t = 1; t < tokens.length; t += 1) {
        const target = tokens[t]!;
        add(this.unigrams, target);
        add(entry(this.bigrams, tokens[t - 1]!), target);
        if (t > 1) add(entry(this.trigrams, this.key(tokens[t - 2]!, tokens[t - 1]!)), target);
      }
    }
  }

  /** Mean negative log-likelihood in nats over all targets, with Witten-Bell smoothing. */
  loss(documents: Documents): number {
    let sum = 0;
    let count = 0;
    for (const tokens of documents) {
      for (let t = 1; t < tokens.length; t += 1) {
        sum -= Math.log(this.probability(tokens, t));
        count += 1;
      }
    }
    return sum / count;
  }

  private probability(tokens: readonly number[], t: number): number {
    const target = tokens[t]!;
    let p = 1 / this.vocabularySize;
    p = wittenBell(this.unigrams, target, p);
    p = wittenBell(this.bigrams.get(tokens[t - 1]!), target, p);
    if (t < 2) return p;
    return wittenBell(this.trigrams.get(this.key(tokens[t - 2]!, tokens[t - 1]!)), target, p);
  }

  private key(first: number, second: number): number {
    return first * this.vocabularySize + second;
  }
}

/** Witten & Bell 1991, method C: mass for the unseen = number of distinct continuations. */
function wittenBell(counts: Counts | undefined, target: number, backoff: number): number {
  if (counts === undefined) return backoff;
  const kinds = counts.next.size;
  return ((counts.next.get(target) ?? 0) + kinds * backoff) / (counts.total + kinds);
}

function entry(map: Map<number, Counts>, key: number): Counts {
  let counts = map.get(key);
  if (counts === undefined) {
    counts = { total: 0, next: new Map() };
    map.set(key, counts);
  }
  return counts;
}

function add(counts: Counts, target: number): void {
  counts.total += 1;
  counts.next.set(target, (counts.next.get(target) ?? 0) + 1);
}
