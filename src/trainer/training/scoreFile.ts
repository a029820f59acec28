/** Answers a test file greedily and scores the answers. */
import type { RunConfig } from '../../config/runConfig';
import { ExampleEncoder, requireRows } from '../../data/examples';
import { exampleOptions } from '../../data/prepare';
import { readRows, sniffFormat } from '../../data/readers/dataset';
import { field, type Row } from '../../data/readers/row';
import type { RowPlace } from '../../data/templates/rendered';
import { chooseTemplate, renderRow } from '../../data/templates/template';
import { exactMatch, scoreOutputs, type Score } from '../../evaluation/score';
import { ruleForAnswers } from '../../evaluation/tasks';
import type { Tokenizer } from '../../models/tokenizer';
import { DotaError } from '../../protocol/errors';

/**
 * Continues prompts greedily until an end token or so many new tokens.
 * @returns the new token ids of each prompt, without the end token
 */
export type GreedyAnswers = (
  prompts: readonly (readonly number[])[],
  eosTokenIds: readonly number[],
  maxNewTokens: number,
  shouldStop: () => boolean,
) => Promise<number[][]>;

export interface ScoreOptions {
  /** Longest answer in tokens; by default the longest expected one and a few more. */
  maxNewTokens?: number;
  /** Score the first rows only. */
  limit?: number;
  batchSize?: number;
  eosTokenIds: readonly number[];
  shouldStop?: () => boolean;
  onProgress?: (done: number, total: number) => void;
}

export interface FileScore extends Score {
  /** Answers that equal the expected text as a whole. */
  exact: number;
}

export interface Item {
  prompt: readonly number[];
  /** What the rule compares with. */
  answer: string;
  /** The whole expected response. */
  completion: string;
  /** What the row asks, as it stands in the file; empty where the file has no instruction. */
  instruction: string;
}

/**
 * Greedy accuracy on a file.
 * @param file absolute
 * @throws DotaError `data.empty`, `data.malformed`, `run.stopped`
 */
export async function scoreFile(
  answer: GreedyAnswers,
  tokenizer: Tokenizer,
  data: RunConfig['data'],
  file: string,
  options: ScoreOptions,
): Promise<FileScore> {
  // The model is asked as it was trained.
  const items = await readItems(tokenizer, data, file, 'train', options.limit);
  requireRows(items.length, file, 'The test file');
  const longest = Math.max(...items.map(({ completion }) => tokenizer.encode(completion).length));
  const maxNewTokens = options.maxNewTokens ?? longest + 8;
  const generated = await answerAll(answer, tokenizer, items, maxNewTokens, options);
  const rule = ruleForAnswers(items.map(({ answer }) => answer));
  const outputs = items.map(({ answer }, i) => ({
    generated: generated[i] ?? '',
    expected: answer,
  }));
  const exact = items.filter((item, i) => exactMatch(generated[i] ?? '', item.completion)).length;
  return { ...scoreOutputs(rule, outputs), exact };
}

/** Prompts and expected answers of a file's rows. */
export async function readItems(
  tokenizer: Tokenizer,
  data: RunConfig['data'],
  file: string,
  purpose: 'train' | 'eval',
  limit = Infinity,
): Promise<Item[]> {
  const encoder = new ExampleEncoder(tokenizer, exampleOptions(data, await sniffFormat(file)));
  const items: Item[] = [];
  for await (const { row, line } of readRows(file)) {
    if (items.length >= limit) break;
    const place = { file, line };
    const completion = completionOf(row, data, place, purpose);
    const given = field(row, 'answer');
    const instruction = field(row, 'instruction');
    items.push({
      prompt: encoder.encodePrompt(row, place, purpose),
      answer: typeof given === 'string' || typeof given === 'number' ? String(given) : completion,
      completion,
      instruction: typeof instruction === 'string' ? instruction : '',
    });
  }
  return items;
}

function completionOf(
  row: Row,
  data: RunConfig['data'],
  place: RowPlace,
  purpose: 'train' | 'eval',
): string {
  const template = data.template === 'auto' ? chooseTemplate(row) : data.template;
  const rendered = renderRow(row, template, place, purpose);
  switch (rendered.kind) {
    case 'completion':
      return rendered.completion;
    case 'chat':
      return rendered.messages.findLast((m) => m.role === 'assistant')?.content ?? '';
    case 'text':
      throw new DotaError('data.malformed', 'A plain text has no answer to score.', {
        where: `${place.file}:${place.line}`,
        next: 'Use rows with a prompt and a completion.',
      });
  }
}

async function answerAll(
  answer: GreedyAnswers,
  tokenizer: Tokenizer,
  items: readonly Item[],
  maxNewTokens: number,
  options: ScoreOptions,
): Promise<string[]> {
  const { batchSize = 32, eosTokenIds, shouldStop = () => false } = options;
  // Prompts of similar length together: little padding, few shapes.
  const order = items.map((_, i) => i).sort((a, b) => lengthAt(items, a) - lengthAt(items, b));
  const answers: string[] = Array.from({ length: items.length }, () => '');
  for (let start = 0; start < order.length; start += batchSize) {
    if (shouldStop()) throw new DotaError('run.stopped', 'Stopped while scoring.');
    const chosen = order.slice(start, start + batchSize);
    const prompts = chosen.map((i) => items[i]?.prompt ?? []);
    const ids = await answer(prompts, eosTokenIds, maxNewTokens, shouldStop);
    chosen.forEach((i, k) => {
      answers[i] = tokenizer.decode(ids[k] ?? [], { skipSpecialTokens: true });
    });
    options.onProgress?.(Math.min(start + batchSize, order.length), order.length);
  }
  return answers;
}

function lengthAt(items: readonly Item[], i: number): number {
  return items[i]?.prompt.length ?? 0;
}
