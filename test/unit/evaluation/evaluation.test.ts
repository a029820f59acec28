import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { macroAverage, wilsonInterval } from '../../../src/evaluation/interval';
import {
  choicesOf,
  exactMatch,
  extractAnswer,
  isCorrect,
  responseText,
  scoreOutputs,
} from '../../../src/evaluation/score';
import { latexTable, markdownTable, type TableRow } from '../../../src/evaluation/table';
import { evaluationTasks, findTask, ruleForAnswers, taskIds } from '../../../src/evaluation/tasks';

interface Fixture {
  cases: { response: string; expected: Record<string, string | number | null> }[];
  intervals: { correct: number; total: number; bounds: [number, number] }[];
}
let fixture: Fixture;
beforeAll(async () => {
  const file = path.join(import.meta.dirname, '../../fixtures/evaluation/answers.json');
  fixture = JSON.parse(await readFile(file, 'utf8')) as Fixture;
});

describe('answers', () => {
  it('are those that the scripts’ own expressions find', () => {
    for (const { response, expected } of fixture.cases) {
      for (const [id, answer] of Object.entries(expected)) {
        const rule = findTask(id)!.rule;
        const found = extractAnswer(rule, response);
        const value =
          rule.kind === 'number' && found !== undefined ? Number(found) : (found ?? null);
        expect(value, `${id}: ${response}`).toBe(answer);
      }
    }
  });

  it('are compared by label, by number within 0.001, by letter', () => {
    const rule = (id: string) => findTask(id)!.rule;
    expect(isCorrect(rule('boolq'), 'it is true', 'true')).toBe(true);
    expect(isCorrect(rule('boolq'), 'it is True', 'true')).toBe(false);
    expect(isCorrect(rule('gsm8k'), 'so it is 1,000.0009', '1000')).toBe(true);
    expect(isCorrect(rule('gsm8k'), 'so it is 1000.002', '1000')).toBe(false);
    expect(isCorrect(rule('SVAMP'), 'none', '0')).toBe(false);
    expect(isCorrect(rule('mawps'), '12', '12.0')).toBe(true);
    expect(isCorrect(rule('AQuA'), 'An odd one: D', 'D')).toBe(false);
  });

  it('of several numbers are the last ones, in their order', () => {
    const rule = { kind: 'numbers' } as const;
    const response = '10 plus 12 equals 22. 3 plus 12 equals 15. The answer is 22 15';
    expect(extractAnswer(rule, response)).toBe('22 15');
    expect(isCorrect(rule, response, '22 15')).toBe(true);
    expect(isCorrect(rule, `${response}.`, '22 15')).toBe(true);
    expect(isCorrect(rule, 'The answer is 22, 15', '22 15')).toBe(true);
    expect(isCorrect(rule, 'The answer is 1,022 -15.0', '1022 -15')).toBe(true);
    expect(isCorrect(rule, response, '15 22')).toBe(false);
    expect(isCorrect(rule, response, '22 15 21')).toBe(false);
    expect(isCorrect(rule, response, '15')).toBe(false);
    expect(extractAnswer(rule, 'none')).toBeUndefined();
  });

  it('end where the model starts another turn', () => {
    expect(responseText('  the answer is 4\n\n### Response:\n5')).toBe('the answer is 4');
    expect(
      exactMatch(
        ' 11 plus 0 equals 11. The answer is 11\n',
        '11 plus 0 equals 11. The answer is 11',
      ),
    ).toBe(true);
    expect(exactMatch('12', '11')).toBe(false);
  });

  it('are offered by the instruction', () => {
    expect(choicesOf('Q?\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2')).toEqual([
      { label: 'answer1', completion: 'the correct answer is answer1' },
      { label: 'answer2', completion: 'the correct answer is answer2' },
    ]);
    expect(choicesOf('What is 2 + 2?')).toEqual([]);
  });
});

describe('the sets', () => {
  it('are the twelve of the protocol, with answers that their own rule accepts', () => {
    expect(evaluationTasks.map((task) => task.id)).toEqual(taskIds);
    expect(evaluationTasks.filter((task) => task.group === 'commonsense')).toHaveLength(8);
    for (const { rule, maxNewTokens, group } of evaluationTasks) {
      expect(maxNewTokens).toBe(group === 'commonsense' ? 32 : 256);
      if (rule.kind !== 'label') continue;
      for (const label of rule.labels) {
        expect(isCorrect(rule, `the correct answer is ${label}`, label)).toBe(true);
      }
    }
  });

  it.each([
    [['true', 'false'], { kind: 'label', labels: ['true', 'false'] }],
    [['answer1', 'answer5'], { kind: 'label' }],
    [['A', 'E'], { kind: 'letter' }],
    [['1', '2.0', '-3', '1,000'], { kind: 'number' }],
    [['1 2', '-3', '1,000, 4.5'], { kind: 'numbers' }],
    [['1', ''], { kind: 'exact' }],
    [['1 2', '3 or 4'], { kind: 'exact' }],
    [['yes', 'no'], { kind: 'exact' }],
    [[], { kind: 'exact' }],
  ])('a file with the answers %j is scored by %j', (answers, rule) => {
    expect(ruleForAnswers(answers)).toMatchObject(rule);
  });
});

describe('intervals', () => {
  it('solve the quadratic that defines them', () => {
    for (const { correct, total, bounds } of fixture.intervals) {
      const { low, high } = wilsonInterval(correct, total);
      // Bisection stops at the last bit of the bounds; 1e-12 leaves room for the square root.
      expect(Math.abs(low - bounds[0])).toBeLessThan(1e-12);
      expect(Math.abs(high - bounds[1])).toBeLessThan(1e-12);
    }
    expect(wilsonInterval(0, 0)).toEqual({ low: 0, high: 1 });
  });

  it('of the mean of sets do not weigh sets by size', () => {
    const mean = macroAverage([
      { correct: 0, total: 10_000 },
      { correct: 1, total: 1 },
    ]);
    expect(mean.accuracy).toBe(0.5);
    const two = macroAverage([
      { correct: 50, total: 100 },
      { correct: 50, total: 100 },
    ]);
    // sd of one set is 0.05; of the mean of two 0.05 / sqrt(2).
    expect(two.high - two.accuracy).toBeCloseTo((1.959964 * 0.05) / Math.SQRT2, 8);
  });
});

describe('scores and tables', () => {
  const score = scoreOutputs({ kind: 'number' }, [
    { generated: 'The answer is 4', expected: '4' },
    { generated: 'no idea', expected: '5' },
    { generated: '6', expected: '7' },
  ]);

  it('count correct, wrong and missing answers', () => {
    expect(score).toMatchObject({ correct: 1, total: 3, accuracy: 1 / 3, unanswered: 1 });
    expect(score.items.map((item) => item.correct)).toEqual([true, false, false]);
  });

  it('are written as Markdown and LaTeX, the mean only where all sets are there', () => {
    const rows: TableRow[] = [
      {
        name: 'a_b|c',
        results: { BoolQ: { correct: 50, total: 100 }, PIQA: { correct: 75, total: 100 } },
      },
      { name: 'half', results: { BoolQ: { correct: 1, total: 2 } } },
    ];
    expect(markdownTable(rows, ['BoolQ', 'PIQA']).split('\n')).toEqual([
      '| Model | BoolQ | PIQA | Avg. |',
      '| --- | ---: | ---: | ---: |',
      '| a_b\\|c | 50.0 ± 9.6 | 75.0 ± 8.4 | 62.5 ± 6.5 |',
      '| half | 50.0 ± 40.5 | - | - |',
    ]);
    expect(latexTable(rows, ['BoolQ', 'PIQA'])).toContain('a\\_b|c & 50.0 $\\pm$ 9.6 &');
  });
});
