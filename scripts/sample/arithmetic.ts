/**
 * The fine-tuning task in the JSON form of LLM-Adapters: questions about one or two sums, some in
 * words, answered by stating each sum and then the answer.
 *
 * A problem is its numbers and operations (`7 plus 8 minus 3`). Each problem belongs to exactly one
 * split, whatever the question around it, so no test item's problem is ever fine-tuned on. The single
 * sums themselves occur in the pretraining text: the task asks for a skill to be put to use.
 */
import { drawChain, expression, splitOf, splits, type Split } from './problems';
import type { Random } from './random';
import { amount, countables, people, sumSentence, type Sum } from './world';

export interface InstructionItem {
  instruction: string;
  /** Always empty, as in LLM-Adapters' arithmetic sets. */
  input: '';
  /** What the model is to write, e.g. `7 plus 8 equals 15. The answer is 15`. */
  output: string;
  answer: string;
}

/** A question about a chain of sums. */
type Template = (random: Random, sums: readonly Sum[]) => string;

const templates: readonly Template[] = [
  (_, sums) => `What is ${expression(sums)}?`,
  (_, sums) => `Compute ${expression(sums)}.`,
  (random, sums) => {
    const person = random.pick(people);
    const what = random.pick(countables);
    const events = sums.map(({ operation, right }) =>
      operation === 'plus'
        ? `${person} gets ${amount(right, what, 'more ')}.`
        : `${person} gives away ${amount(right, what)}.`,
    );
    return `${person} has ${amount(sums[0]!.left, what)}. ${events.join(' ')} How many ${what} does ${person} have?`;
  },
  (random, sums) => {
    const [person, other] = random.shuffle([...people]);
    const what = random.pick(countables);
    const events = sums.map(({ operation, right }) =>
      operation === 'plus'
        ? `${other} gives ${person} ${amount(right, what)}.`
        : `${person} loses ${amount(right, what)}.`,
    );
    return `${person} has ${amount(sums[0]!.left, what)}. ${events.join(' ')} How many ${what} are there now?`;
  },
];

/** Draws items with distinct instructions until each split has its count. */
export function makeArithmetic(
  random: Random,
  counts: Record<Split, number>,
): Record<Split, InstructionItem[]> {
  const items: Record<Split, InstructionItem[]> = { train: [], validation: [], test: [] };
  const seen = new Set<string>();
  while (splits.some((split) => items[split].length < counts[split])) {
    const sums = drawChain(random, random.integer(1, 2));
    const split = splitOf(expression(sums));
    const instruction = random.pick(templates)(random, sums);
    if (items[split].length >= counts[split] || seen.has(instruction)) continue;
    seen.add(instruction);
    const answer = String(sums[sums.length - 1]!.result);
    items[split].push({
      instruction,
      input: '',
      output: `${sums.map(sumSentence).join(' ')} The answer is ${answer}`,
      answer,
    });
  }
  return items;
}
