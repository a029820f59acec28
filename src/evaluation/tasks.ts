/**
 * The sets of the LLM-Adapters protocol: how an answer is read from generated text and when it
 * counts. Rules of `commonsense_evaluate.py` and `evaluate.py`, weak spots included, since published
 * numbers were made with them. Source: https://github.com/AGI-Edgerunners/LLM-Adapters
 */

export const taskIds = [
  'boolq',
  'piqa',
  'social_i_qa',
  'hellaswag',
  'winogrande',
  'ARC-Easy',
  'ARC-Challenge',
  'openbookqa',
  'gsm8k',
  'AQuA',
  'mawps',
  'SVAMP',
] as const;
export type TaskId = (typeof taskIds)[number];

/** How an answer is found in the response, and compared. */
export type AnswerRule =
  /** First occurrence of any label, case-sensitive; equal to the expected label. */
  | { kind: 'label'; labels: readonly string[] }
  /** Last number, commas removed; within 0.001 of the expected one. */
  | { kind: 'number' }
  /** All numbers at the end of the response, in their order. */
  | { kind: 'numbers' }
  /** First capital A to E anywhere, even inside a word. */
  | { kind: 'letter' }
  /** The whole response, outer blanks aside. */
  | { kind: 'exact' };

/** Sets that the papers average over together; `other` holds files that are none of them. */
export const taskGroups = ['commonsense', 'arithmetic', 'other'] as const;
export type TaskGroup = (typeof taskGroups)[number];

export interface EvaluationTask {
  id: TaskId;
  title: string;
  group: Exclude<TaskGroup, 'other'>;
  rule: AnswerRule;
  maxNewTokens: number;
  /** Rows of the published test file, to check a user's copy. */
  testRows: number;
}

const label = (labels: readonly string[]): AnswerRule => ({ kind: 'label', labels });
const answers = label(['answer1', 'answer2', 'answer3', 'answer4', 'answer5']);

function commonsense(
  id: TaskId,
  title: string,
  testRows: number,
  rule: AnswerRule,
): EvaluationTask {
  return { id, title, group: 'commonsense', rule, maxNewTokens: 32, testRows };
}

function arithmetic(id: TaskId, title: string, testRows: number, rule: AnswerRule): EvaluationTask {
  return { id, title, group: 'arithmetic', rule, maxNewTokens: 256, testRows };
}

/** In the order of the papers' tables. */
export const evaluationTasks: readonly EvaluationTask[] = [
  commonsense('boolq', 'BoolQ', 3270, label(['true', 'false'])),
  commonsense('piqa', 'PIQA', 1838, label(['solution1', 'solution2'])),
  commonsense('social_i_qa', 'SIQA', 1954, answers),
  commonsense(
    'hellaswag',
    'HellaSwag',
    10_042,
    label(['ending1', 'ending2', 'ending3', 'ending4']),
  ),
  commonsense('winogrande', 'WinoGrande', 1267, label(['option1', 'option2'])),
  commonsense('ARC-Easy', 'ARC-e', 2376, answers),
  commonsense('ARC-Challenge', 'ARC-c', 1172, answers),
  commonsense('openbookqa', 'OBQA', 500, answers),
  arithmetic('gsm8k', 'GSM8K', 1319, { kind: 'number' }),
  arithmetic('AQuA', 'AQuA', 254, { kind: 'letter' }),
  arithmetic('mawps', 'MAWPS', 238, { kind: 'number' }),
  arithmetic('SVAMP', 'SVAMP', 1000, { kind: 'number' }),
];

/** @param name the id in any case */
export function findTask(name: string): EvaluationTask | undefined {
  return evaluationTasks.find((task) => task.id.toLowerCase() === name.toLowerCase());
}

/** @param set id of a set, or any other name */
export function taskGroupOf(set: string): TaskGroup {
  return findTask(set)?.group ?? 'other';
}

/** Where the published test file of a set lies. */
export function sourceOf({ id }: EvaluationTask): string {
  return `https://github.com/AGI-Edgerunners/LLM-Adapters/blob/main/dataset/${id}/test.json`;
}

/** Beam search of the protocol; temperature, top_p and top_k of the scripts have no effect on it. */
export const protocolBeams = 4;

/**
 * The rule that fits a file's answers where no set is named: labels of one family, letters, numbers, lists
 * of numbers, otherwise exact match.
 */
export function ruleForAnswers(given: readonly string[]): AnswerRule {
  if (given.length === 0) return { kind: 'exact' };
  for (const { rule } of evaluationTasks) {
    if (rule.kind === 'label' && given.every((answer) => rule.labels.includes(answer))) return rule;
  }
  if (given.every((answer) => /^[A-E]$/.test(answer))) return { kind: 'letter' };
  if (given.every((answer) => Number.isFinite(parseNumber(answer)))) return { kind: 'number' };
  if (given.every((answer) => numbersOf(answer) !== undefined)) return { kind: 'numbers' };
  return { kind: 'exact' };
}

/** Numbers with blanks, or commas and blanks, between them; undefined where anything else is there. */
export function numbersOf(text: string): number[] | undefined {
  const numbers = text.trim().split(/,?\s+/).map(parseNumber);
  return numbers.every(Number.isFinite) ? numbers : undefined;
}

/** A number as the answers write it: `1,023.5` and ` 12 ` are numbers, the empty string is none. */
export function parseNumber(text: string): number {
  const cleaned = text.replaceAll(',', '').trim();
  return cleaned === '' ? NaN : Number(cleaned);
}
