/**
 * Beam search over one prompt, in the arithmetic of Hugging Face's `generate` (early_stopping =
 * False), so that results can be compared token by token.
 */
import { topIndices } from './sampling';

export interface BeamOptions {
  numBeams: number;
  /** Scores are divided by length^penalty. */
  lengthPenalty: number;
  maxNewTokens: number;
  eosTokenIds: readonly number[];
  /** Whether a sequence of new tokens is complete for another reason (a stop string). */
  isComplete?: ((tokens: readonly number[]) => boolean) | undefined;
}

/** Far below every log-probability: marks what may not be chosen, as there. */
const EXCLUDED = -1e9;

interface Beam {
  tokens: readonly number[];
  score: number;
}

interface Hypothesis extends Beam {
  finished: boolean;
}

export class BeamSearch {
  readonly #options: BeamOptions;
  #running: Beam[];
  #finished: Hypothesis[];
  #improvable = true;
  #done = false;

  constructor(options: BeamOptions) {
    this.#options = options;
    // All beams start equal: only the first one counts at the first step.
    this.#running = beams(options.numBeams, (i) => ({ tokens: [], score: i === 0 ? 0 : EXCLUDED }));
    this.#finished = beams(options.numBeams, () => ({
      tokens: [],
      score: EXCLUDED,
      finished: false,
    }));
  }

  get done(): boolean {
    return this.#done;
  }

  /** New tokens of the best sequence, its end token included. */
  get best(): readonly number[] {
    const best = this.#finished[0];
    return best?.finished === true ? best.tokens : (this.#running[0]?.tokens ?? []);
  }

  /**
   * Continues every beam by one token.
   * @param logProbabilities `[numBeams][vocab]`
   * @returns for each beam, which beam it continues and its new token
   */
  advance(logProbabilities: readonly Float64Array[]): {
    parents: readonly number[];
    tokens: readonly number[];
  } {
    const { numBeams, lengthPenalty } = this.#options;
    const found = this.#candidates(logProbabilities);
    const hits = found.map(({ tokens }) => this.#complete(tokens));

    const running = found.map(({ score }, i) => score + (hits[i] === true ? EXCLUDED : 0));
    const kept = topIndices(running, numBeams);
    this.#running = kept.map((i) => ({
      tokens: found[i]?.tokens ?? [],
      score: running[i] as number,
    }));

    const length = found[0]?.tokens.length ?? 1;
    const ended = found.map(({ tokens, score }, i): Hypothesis => {
      // Candidates beyond the first numBeams only stand in for beams that have ended.
      const finished = hits[i] === true && i < numBeams;
      const excluded = (this.#improvable ? 0 : EXCLUDED) + (finished ? 0 : EXCLUDED);
      return { tokens, finished, score: score / length ** lengthPenalty + excluded };
    });
    const merged = [...this.#finished, ...ended];
    const best = topIndices(
      merged.map(({ score }) => score),
      numBeams,
    );
    this.#finished = best.map((i) => merged[i] as Hypothesis);

    this.#improvable &&= this.#canImprove(length);
    this.#done = !this.#improvable || hits.every(Boolean);
    return {
      parents: kept.map((i) => found[i]?.parent ?? 0),
      tokens: this.#running.map(({ tokens }) => tokens.at(-1) ?? 0),
    };
  }

  /** The most probable continuations of all beams, enough for all to go on when some end. */
  #candidates(logProbabilities: readonly Float64Array[]): (Beam & { parent: number })[] {
    const { numBeams, eosTokenIds } = this.#options;
    const count = Math.max(2, 1 + eosTokenIds.length) * numBeams;
    const all = logProbabilities.flatMap((row, parent) => {
      const { tokens, score } = this.#running[parent] as Beam;
      return topIndices(row, Math.min(count, row.length)).map((id) => ({
        parent,
        tokens: [...tokens, id],
        score: score + (row[id] as number),
      }));
    });
    const best = topIndices(
      all.map(({ score }) => score),
      count,
    );
    return best.map((i) => all[i] as Beam & { parent: number });
  }

  #complete(tokens: readonly number[]): boolean {
    const { eosTokenIds, maxNewTokens, isComplete } = this.#options;
    if (tokens.length >= maxNewTokens || eosTokenIds.includes(tokens.at(-1) ?? -1)) return true;
    return isComplete?.(tokens) === true;
  }

  #canImprove(length: number): boolean {
    const best = (this.#running[0]?.score ?? EXCLUDED) / length ** this.#options.lengthPenalty;
    const worst = Math.min(...this.#finished.map(({ score }) => score));
    return this.#finished.some(({ finished }) => best > (finished ? worst : EXCLUDED));
  }
}

function beams<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}
