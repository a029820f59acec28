/** Scores generated text by a rule. */
import { wilsonInterval, type Interval } from './interval';
import { numbersOf, parseNumber, type AnswerRule } from './tasks';

const tolerance = 0.001;

/**
 * The model's response: what was generated, up to where it starts another turn of its own.
 * @param generated text after the prompt, special tokens left out
 */
export function responseText(generated: string): string {
  return (generated.split('### Response:')[0] ?? '').trim();
}

/** Numbers with blanks or commas between, and no further one after them. */
const listAtEnd = /(-?\d[\d,]*(?:\.\d+)?(?:,?\s+-?\d[\d,]*(?:\.\d+)?)*)\D*$/;

/** The answer in a response, or undefined where the rule finds none (which counts as wrong). */
export function extractAnswer(rule: AnswerRule, response: string): string | undefined {
  switch (rule.kind) {
    case 'label': {
      // The first in the text; of two that start at the same place, the first listed.
      let best: { at: number; label: string } | undefined;
      for (const label of rule.labels) {
        const at = response.indexOf(label);
        if (at !== -1 && (best === undefined || at < best.at)) best = { at, label };
      }
      return best?.label;
    }
    case 'number':
      return response
        .replaceAll(',', '')
        .match(/-?\d+\.?\d*/g)
        ?.at(-1);
    case 'numbers':
      return listAtEnd.exec(response)?.[1];
    case 'letter':
      return /[A-E]/.exec(response)?.[0];
    case 'exact':
      return response.trim();
  }
}

export function isCorrect(rule: AnswerRule, response: string, expected: string): boolean {
  const answer = extractAnswer(rule, response);
  if (answer === undefined) return false;
  if (rule.kind === 'number') return isClose(parseNumber(answer), parseNumber(expected));
  if (rule.kind === 'numbers') {
    const [given, wanted] = [numbersOf(answer) ?? [], numbersOf(expected) ?? []];
    return given.length === wanted.length && given.every((x, i) => isClose(x, wanted[i] ?? NaN));
  }
  return answer === (rule.kind === 'exact' ? expected.trim() : expected);
}

function isClose(a: number, b: number): boolean {
  return Math.abs(a - b) <= tolerance;
}

/** Greedy exact match of a whole answer, outer blanks aside. */
export function exactMatch(generated: string, expected: string): boolean {
  return isCorrect({ kind: 'exact' }, responseText(generated), expected);
}

export interface ScoredItem {
  response: string;
  answer: string | undefined;
  expected: string;
  correct: boolean;
}

export interface Score {
  correct: number;
  total: number;
  accuracy: number;
  interval: Interval;
  /** Responses in which the rule found no answer. */
  unanswered: number;
  items: ScoredItem[];
}

/** @param outputs generated text and expected answer of every item */
export function scoreOutputs(
  rule: AnswerRule,
  outputs: readonly { generated: string; expected: string }[],
): Score {
  const items = outputs.map(({ generated, expected }): ScoredItem => {
    const response = responseText(generated);
    return {
      response,
      answer: extractAnswer(rule, response),
      expected,
      correct: isCorrect(rule, response, expected),
    };
  });
  const correct = items.filter((item) => item.correct).length;
  const total = items.length;
  return {
    correct,
    total,
    accuracy: total === 0 ? 0 : correct / total,
    interval: wilsonInterval(correct, total),
    unanswered: items.filter((item) => item.answer === undefined).length,
    items,
  };
}

/**
 * The answers to compare by log-likelihood: those that the instruction offers after
 * `Answer format:`, as the sentence that the training sets use.
 */
export function choicesOf(instruction: string): { label: string; completion: string }[] {
  const format = /Answer format:\s*(\S+)\s*$/.exec(instruction)?.[1];
  if (format === undefined) return [];
  return format
    .split('/')
    .map((label) => ({ label, completion: `the correct answer is ${label}` }));
}
