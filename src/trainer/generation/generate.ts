/** Continues prompts token by token, or by beam search, with a cache of keys and values. */
import { BeamSearch } from './beams';
import type { CachedDecoder } from './cachedDecoder';
import { argmax, logSoftmax, sample, type SamplingOptions } from './sampling';
import type { WeightView } from './weightView';

export type Strategy =
  | { kind: 'greedy' }
  | ({ kind: 'sample' } & SamplingOptions)
  | { kind: 'beams'; numBeams: number; lengthPenalty: number };

export interface GenerateOptions {
  strategy: Strategy;
  maxNewTokens: number;
  eosTokenIds: readonly number[];
  /** Whether an answer is complete for another reason than an end token (a stop string). */
  isComplete?: ((tokens: readonly number[]) => boolean) | undefined;
  /** Polled between tokens: true ends with what there is. */
  shouldStop?: (() => boolean) | undefined;
}

export type FinishReason = 'eos' | 'stop' | 'length' | 'stopped';

export interface Answer {
  /** Without the end token; with the tokens that spell a stop string. */
  tokens: number[];
  finish: FinishReason;
}

/**
 * Answers of a batch as they grow: yields after every token (greedy, sampling) or after every step
 * of a search (beams, where the best answer may still change). A caller that takes turns among
 * several of these shares the machine among them; two must not run at the same time, since they
 * share the weights' scratch memory.
 * @param prompts token ids, one array a prompt, none empty
 */
export async function* generate(
  decoder: CachedDecoder,
  weights: WeightView,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): AsyncGenerator<readonly Answer[], Answer[]> {
  const { strategy } = options;
  if (strategy.kind === 'beams') {
    return yield* searchBeams(decoder, weights, prompts, options, strategy);
  }
  const answers = prompts.map((): Answer => ({ tokens: [], finish: 'length' }));
  const open = prompts.map(() => true);
  const cache = decoder.newCache(prompts.length);
  let next: readonly (readonly number[])[] = prompts;
  const { vocabSize } = decoder.config;
  for (let step = 0; step < options.maxNewTokens && open.includes(true); step++) {
    if (options.shouldStop?.() === true) return stopOpen(answers, open);
    const logits = await decoder.nextLogits(weights, cache, next);
    const chosen = prompts.map((_, row) => {
      // Finished sequences stay in the batch: each batch size is a set of graphs to compile.
      if (open[row] !== true) return 0;
      const own = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
      return strategy.kind === 'greedy' ? argmax(own) : sample(own, strategy, row, step);
    });
    answers.forEach((answer, row) => {
      if (open[row] !== true) return;
      const finish = take(answer.tokens, chosen[row] as number, options);
      if (finish === undefined) return;
      answer.finish = finish;
      open[row] = false;
    });
    next = chosen.map((id) => [id]);
    yield answers;
    await turn();
  }
  return answers;
}

/** Runs to the end. */
export async function generateAll(
  decoder: CachedDecoder,
  weights: WeightView,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<Answer[]> {
  const steps = generate(decoder, weights, prompts, options);
  for (;;) {
    const { done, value } = await steps.next();
    if (done === true) return value;
  }
}

/** Adds a token unless it ends the answer. */
function take(
  tokens: number[],
  id: number,
  { eosTokenIds, isComplete }: GenerateOptions,
): FinishReason | undefined {
  if (eosTokenIds.includes(id)) return 'eos';
  tokens.push(id);
  return isComplete?.(tokens) === true ? 'stop' : undefined;
}

async function* searchBeams(
  decoder: CachedDecoder,
  weights: WeightView,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
  { numBeams, lengthPenalty }: Extract<Strategy, { kind: 'beams' }>,
): AsyncGenerator<readonly Answer[], Answer[]> {
  const searches = prompts.map(() => new BeamSearch({ ...options, numBeams, lengthPenalty }));
  const cache = decoder.newCache(prompts.length);
  const { vocabSize } = decoder.config;
  // All beams of a prompt start equal, so the prompt is read once.
  const first = await decoder.nextLogits(weights, cache, prompts);
  const beamRows = prompts.flatMap((_, p) => Array.from({ length: numBeams }, () => p));
  cache.select(beamRows);
  let logits = new Float32Array(beamRows.length * vocabSize);
  beamRows.forEach((p, row) => {
    logits.set(first.subarray(p * vocabSize, (p + 1) * vocabSize), row * vocabSize);
  });
  for (;;) {
    const parents: number[] = [];
    const tokens: number[] = [];
    searches.forEach((search, p) => {
      const start = p * numBeams;
      const rows = Array.from({ length: numBeams }, (_, beam) => start + beam);
      if (search.done) {
        parents.push(...rows);
        tokens.push(...rows.map(() => 0));
        return;
      }
      const scores = rows.map((row) =>
        logSoftmax(logits.subarray(row * vocabSize, (row + 1) * vocabSize)),
      );
      const next = search.advance(scores);
      parents.push(...next.parents.map((beam) => start + beam));
      tokens.push(...next.tokens);
    });
    const answers = searches.map((search) => beamAnswer(search, options));
    if (searches.every((search) => search.done)) return answers;
    if (options.shouldStop?.() === true) {
      return stopOpen(
        answers,
        searches.map((search) => !search.done),
      );
    }
    yield answers;
    await turn();
    cache.select(parents);
    const rows = tokens.map((id) => [id]);
    logits = (await decoder.nextLogits(weights, cache, rows)) as Float32Array<ArrayBuffer>;
  }
}

function beamAnswer(search: BeamSearch, options: GenerateOptions): Answer {
  const tokens = [...search.best];
  if (options.eosTokenIds.includes(tokens.at(-1) ?? -1)) {
    return { tokens: tokens.slice(0, -1), finish: 'eos' };
  }
  return { tokens, finish: options.isComplete?.(tokens) === true ? 'stop' : 'length' };
}

function stopOpen(answers: Answer[], open: readonly boolean[]): Answer[] {
  return answers.map((answer, i) => (open[i] === true ? { ...answer, finish: 'stopped' } : answer));
}

/** Lets signals and messages of this process through. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
