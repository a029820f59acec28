/**
 * A second task family: one operation on each number of a list. Where the arithmetic task chains its
 * sums, here they stand side by side, and the answer repeats all results: copying beside number facts.
 *
 * A problem is the list with its operation (`3 9 1 plus 4`); as in the arithmetic task it belongs to
 * one split only, and only the single sums are shared with the pretraining text.
 */
import type { InstructionItem } from './arithmetic';
import { splitOf, splits, type Split } from './problems';
import type { Random } from './random';
import {
  isStated,
  largestNumber,
  largestOperand,
  sumSentence,
  type Operation,
  type Sum,
} from './world';

type Template = (list: string, operation: Operation, right: number) => string;

const templates: readonly Template[] = [
  (list, operation, right) => `List: ${list}. What is each ${operation} ${right}?`,
  (list, operation, right) => `Compute ${list}, each ${operation} ${right}.`,
  (list, operation, right) =>
    operation === 'plus'
      ? `There are ${list}. Each gets ${right} more. How many are there now?`
      : `There are ${list}. Each loses ${right}. How many are there now?`,
];

export function listProblem(sums: readonly Sum[]): string {
  const [{ operation, right }] = sums as [Sum];
  return `${sums.map(({ left }) => left).join(' ')} ${operation} ${right}`;
}

/**
 * Draws items with distinct problems until each split has its count.
 * @param seen problems that are not drawn; those that are drawn join them
 */
export function makeLists(
  random: Random,
  counts: Record<Split, number>,
  seen = new Set<string>(),
): Record<Split, InstructionItem[]> {
  const items: Record<Split, InstructionItem[]> = { train: [], validation: [], test: [] };
  while (splits.some((split) => items[split].length < counts[split])) {
    const sums = drawList(random);
    const problem = listProblem(sums);
    const split = splitOf(problem);
    if (items[split].length >= counts[split] || seen.has(problem)) continue;
    seen.add(problem);
    const [{ operation, right }] = sums as [Sum];
    const list = sums.map(({ left }) => left).join(' ');
    const answer = sums.map(({ result }) => result).join(' ');
    items[split].push({
      instruction: random.pick(templates)(list, operation, right),
      input: '',
      output: `${sums.map(sumSentence).join(' ')} The answer is ${answer}`,
      answer,
    });
  }
  return items;
}

/**
 * The lists that the study uses: train and validation as it began with them, and its second test split.
 * The first was used when runs of 400 steps were studied, which ended before most methods' loss had fallen.
 * The second is drawn after it, of the same problems (`splitOf`) without those that the first split took.
 */
export function makeStudyLists(
  random: Random,
  counts: Record<Split, number>,
): Record<Split, InstructionItem[]> {
  const seen = new Set<string>();
  const { train, validation } = makeLists(random, counts, seen);
  const { test } = makeLists(random, { train: 0, validation: 0, test: counts.test }, seen);
  return { train, validation, test };
}

/** Two or three sums of one operation and one right side, all stated in the pretraining text. */
function drawList(random: Random): Sum[] {
  const operation = random.pick(['plus', 'minus'] as const);
  const right = random.integer(0, largestOperand);
  const length = random.integer(2, 3);
  const sums: Sum[] = [];
  while (sums.length < length) {
    const left = random.integer(0, largestNumber);
    if (!isStated(left, operation, right)) continue;
    sums.push({
      left,
      operation,
      right,
      result: operation === 'plus' ? left + right : left - right,
    });
  }
  return sums;
}
