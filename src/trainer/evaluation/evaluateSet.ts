/** One set, one model: answers or likelihoods, scored by the set's rule. */
import type { RunConfig } from '../../config/runConfig';
import { ExampleEncoder, requireRows } from '../../data/examples';
import { exampleOptions } from '../../data/prepare';
import { readRows, sniffFormat } from '../../data/readers/dataset';
import { choicesOf, scoreOutputs, type ScoredItem } from '../../evaluation/score';
import { ruleForAnswers, type EvaluationTask } from '../../evaluation/tasks';
import type { Tokenizer } from '../../models/tokenizer';
import { DotaError } from '../../protocol/errors';
import type { Scoring, SetEvaluation } from '../../protocol/evaluation';
import { generateAll, type Strategy } from '../generation/generate';
import type { GenerationSession } from '../generation/session';
import type { WeightView } from '../generation/weightView';
import { readItems, type Item } from '../training/scoreFile';
import { continued, logLikelihoods, type ScoredText } from './likelihood';

export interface SetOptions {
  /** undefined: the answers decide how they are compared. */
  task: EvaluationTask | undefined;
  /** Absolute. */
  file: string;
  data: RunConfig['data'];
  scoring: Scoring;
  numBeams: number;
  maxNewTokens: number | undefined;
  limit: number | undefined;
  batchSize: number;
  /** Perplexity of the expected answers as well. */
  loss: boolean;
  shouldStop: () => boolean;
  onProgress: (done: number, total: number) => void;
}

export interface SetOutcome {
  result: Omit<SetEvaluation, 'adapter' | 'set' | 'title'>;
  /** What was answered, row by row. */
  items: ScoredItem[];
}

/** @throws DotaError `data.empty`, `data.malformed`, `run.stopped` */
export async function evaluateSet(
  session: GenerationSession,
  view: WeightView,
  options: SetOptions,
): Promise<SetOutcome> {
  const { task, file, data, limit, scoring } = options;
  const wanted = options.loss || scoring === 'perplexity';
  const likelihood = wanted
    ? await perplexity(session, view, options)
    : { loss: null, perplexity: null, tokens: 0 };
  if (scoring === 'perplexity') return { result: { ...unscored(file), ...likelihood }, items: [] };
  const purpose = task === undefined ? 'train' : 'eval';
  const items = await readItems(session.tokenizer, data, file, purpose, limit);
  requireRows(items.length, file, 'The test file');
  const rule = task?.rule ?? ruleForAnswers(items.map(({ answer }) => answer));
  const generated =
    scoring === 'generate'
      ? await answer(session, view, items, options)
      : await choose(session, view, items, options);
  const score = scoreOutputs(
    rule,
    items.map((item, i) => ({ generated: generated[i] ?? '', expected: item.answer })),
  );
  const { low, high } = score.interval;
  return {
    result: {
      file,
      scoring,
      num_beams: scoring === 'generate' ? options.numBeams : null,
      correct: score.correct,
      total: score.total,
      accuracy: score.accuracy,
      interval: [low, high],
      unanswered: score.unanswered,
      ...likelihood,
    },
    items: score.items,
  };
}

/** Of a set whose answers are left alone. */
function unscored(file: string) {
  return {
    file,
    scoring: 'perplexity',
    num_beams: null,
    correct: 0,
    total: 0,
    accuracy: 0,
    interval: [0, 1],
    unanswered: 0,
  } as const;
}

/** Beam search (greedy for one beam), prompts of similar length together. */
async function answer(
  session: GenerationSession,
  view: WeightView,
  items: readonly Item[],
  { task, numBeams, maxNewTokens, batchSize, shouldStop, onProgress }: SetOptions,
): Promise<string[]> {
  const { tokenizer } = session;
  const longest = Math.max(...items.map(({ completion }) => tokenizer.encode(completion).length));
  const strategy: Strategy =
    numBeams > 1 ? { kind: 'beams', numBeams, lengthPenalty: 1 } : { kind: 'greedy' };
  const answers = items.map(() => '');
  const prompts = Math.max(1, Math.floor(batchSize / numBeams));
  const lengths = items.map(({ prompt }) => prompt.length);
  for (const chosen of batches(lengths, prompts)) {
    const outcome = await generateAll(
      session.decoder,
      view,
      chosen.map((i) => items[i]?.prompt ?? []),
      {
        strategy,
        maxNewTokens: maxNewTokens ?? task?.maxNewTokens ?? longest + 8,
        eosTokenIds: session.eosTokenIds,
        shouldStop,
      },
    );
    if (shouldStop()) throw new DotaError('run.stopped', 'Stopped while answering.');
    chosen.forEach((i, k) => {
      answers[i] = tokenizer.decode(outcome[k]?.tokens ?? [], { skipSpecialTokens: true });
    });
    onProgress(answers.filter((text) => text !== '').length, items.length);
  }
  return answers;
}

/** The most probable of the choices that a row offers, as a text. */
async function choose(
  session: GenerationSession,
  view: WeightView,
  items: readonly Item[],
  { file, shouldStop, onProgress }: SetOptions,
): Promise<string[]> {
  const answers: string[] = [];
  for (const [row, { prompt, instruction }] of items.entries()) {
    if (shouldStop()) throw new DotaError('run.stopped', 'Stopped while scoring.');
    const choices = choicesOf(instruction);
    if (choices.length < 2) {
      throw new DotaError('data.malformed', 'The row offers no choices to compare.', {
        where: `${file}:${row + 1}`,
        next: 'Log-likelihood needs instructions that end with "Answer format: a/b"; use --scoring generate.',
      });
    }
    const scores = await logLikelihoods(
      session.decoder,
      view,
      choices.map(({ completion }) => continued(prompt, session.tokenizer.encode(completion))),
    );
    const best = scores.reduce(
      (at, { logProbability }, i) =>
        logProbability > (scores[at]?.logProbability ?? -Infinity) ? i : at,
      0,
    );
    answers.push(choices[best]?.completion ?? '');
    onProgress(row + 1, items.length);
  }
  return answers;
}

/** Of what training would learn from the rows: the expected answers, or whole texts. */
async function perplexity(
  session: GenerationSession,
  view: WeightView,
  { file, data, limit, batchSize, shouldStop }: SetOptions,
): Promise<{ loss: number | null; perplexity: number | null; tokens: number }> {
  const texts = await readTexts(session.tokenizer, data, file, limit);
  let sum = 0;
  let tokens = 0;
  for (const chosen of batches(
    texts.map(({ ids }) => ids.length),
    batchSize,
  )) {
    if (shouldStop()) throw new DotaError('run.stopped', 'Stopped while scoring.');
    const part = chosen.map((i) => texts[i] as ScoredText);
    for (const scored of await logLikelihoods(session.decoder, view, part)) {
      sum -= scored.logProbability;
      tokens += scored.tokens;
    }
  }
  const loss = tokens === 0 ? null : sum / tokens;
  return { loss, perplexity: loss === null ? null : Math.exp(loss), tokens };
}

async function readTexts(
  tokenizer: Tokenizer,
  data: RunConfig['data'],
  file: string,
  limit = Infinity,
): Promise<ScoredText[]> {
  const encoder = new ExampleEncoder(tokenizer, exampleOptions(data, await sniffFormat(file)));
  const texts: ScoredText[] = [];
  let rows = 0;
  for await (const { row, line } of readRows(file)) {
    if (++rows > limit) break;
    for (const { inputIds, lossMask } of encoder.encode(row, { file, line }).examples) {
      texts.push({ ids: inputIds, mask: lossMask.map((counts) => (counts === 0 ? 0 : 1)) });
    }
  }
  return texts;
}

/** Indices in groups of similar length: little padding, few shapes. */
function batches(lengths: readonly number[], size: number): number[][] {
  const order = [...lengths.keys()].sort((a, b) => (lengths[a] ?? 0) - (lengths[b] ?? 0));
  return Array.from({ length: Math.ceil(order.length / size) }, (_, k) =>
    order.slice(k * size, (k + 1) * size),
  );
}
