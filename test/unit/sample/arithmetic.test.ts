import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { makeArithmetic, type InstructionItem } from '../../../scripts/sample/arithmetic';
import { bagOfWordsAccuracy } from '../../../scripts/sample/bagOfWords';
import { sampleSizes } from '../../../scripts/sample/generate';
import { drawDocuments } from '../../../scripts/sample/pretrainingText';
import { expression, splitOf, splits, type Split } from '../../../scripts/sample/problems';
import { Random } from '../../../scripts/sample/random';
import { drawSum, isStated, type Operation } from '../../../scripts/sample/world';

const read = (split: Split): InstructionItem[] =>
  JSON.parse(
    readFileSync(`media/sample/data/arithmetic.${split}.json`, 'utf8'),
  ) as InstructionItem[];
const sets: Record<Split, InstructionItem[]> = {
  train: read('train'),
  validation: read('validation'),
  test: read('test'),
};

/** Recovers `7 plus 8 minus 3` from an output, checking each stated sum on the way. */
function problemOf(output: string): { problem: string; answer: number } {
  const stated = [...output.matchAll(/(\d+) (plus|minus) (\d+) equals (\d+)\./g)].map((m) => ({
    left: Number(m[1]),
    operation: m[2] as Operation,
    right: Number(m[3]),
    result: Number(m[4]),
  }));
  stated.forEach(({ left, operation, right, result }, i) => {
    expect(operation === 'plus' ? left + right : left - right).toBe(result);
    if (i > 0) expect(left).toBe(stated[i - 1]!.result);
  });
  return { problem: expression(stated), answer: stated.at(-1)!.result };
}

describe('the committed arithmetic sets', () => {
  it('are what the generator makes from its seed', () => {
    expect(makeArithmetic(new Random(2), sampleSizes.items)).toEqual(sets);
  });

  it.each(splits)('%s: every output is right and ends in the answer', (split) => {
    for (const { output, answer, input } of sets[split]) {
      expect(problemOf(output).answer).toBe(Number(answer));
      expect(output.endsWith(`. The answer is ${answer}`)).toBe(true);
      expect(input).toBe('');
    }
  });

  it('have at least 500 test items, and no problem in two splits', () => {
    expect(sets.test.length).toBeGreaterThanOrEqual(500);
    const problems = splits.map((split) => sets[split].map((i) => problemOf(i.output).problem));
    const owners = new Map<string, Set<number>>();
    problems.forEach((list, s) => {
      for (const p of list) owners.set(p, (owners.get(p) ?? new Set()).add(s));
    });
    expect([...owners].filter(([, owner]) => owner.size > 1)).toEqual([]);
    expect(problems[2]!.every((p) => splitOf(p) === 'test')).toBe(true);
  });

  it('ask the problem that the output solves', () => {
    for (const { instruction, output } of sets.test) {
      const asked = [...instruction.matchAll(/\d+/g)].map((m) => m[0]);
      const solved = [...problemOf(output).problem.matchAll(/\d+/g)].map((m) => m[0]);
      expect(asked).toEqual(solved);
    }
  });

  it('never ask about a sum in the pretraining text', () => {
    const text = drawDocuments(new Random(0), 3000).join('\n');
    expect(text).not.toMatch(/What is \d|Compute \d|(gets|gives|loses)[^.]*\.[^.]*How many/);
    expect(text).toMatch(/\d+ plus \d+ equals \d+\./);
  });
});

describe('the pretraining text', () => {
  it('works out no two-step problem of the test split', () => {
    const chain = /(\d+) (plus|minus) (\d+) equals (\d+)\.(?=\s(\d+) (plus|minus) (\d+) equals)/g;
    const problems = drawDocuments(new Random(0), 6000).flatMap((text) =>
      [...text.matchAll(chain)]
        .filter((m) => m[4] === m[5])
        .map((m) => `${m[1]!} ${m[2]!} ${m[3]!} ${m[6]!} ${m[7]!}`),
    );
    const ofSplit = (split: Split): number => problems.filter((p) => splitOf(p) === split).length;
    expect(ofSplit('train')).toBeGreaterThan(1000);
    // Sums that stand side by side by chance (not drawn as a chain) may continue each other.
    expect(ofSplit('test') / problems.length).toBeLessThan(0.02);
  });
});

describe('sums of the world', () => {
  it('stay within what the pretraining text states', () => {
    const random = new Random(7);
    for (let i = 0; i < 500; i += 1) {
      const sum = drawSum(random);
      expect(isStated(sum.left, sum.operation, sum.right)).toBe(true);
    }
    expect(isStated(13, 'plus', 1)).toBe(false);
    expect(isStated(3, 'minus', 4)).toBe(false);
  });
});

describe('the bag-of-words baseline', () => {
  it('learns what words give away, and nothing that needs their order', () => {
    const items = (texts: string[]): { instruction: string; answer: string }[] =>
      texts.map((t) => ({ instruction: t, answer: t.split(' ')[0]! }));
    const easy = items(['red ball', 'blue kite', 'red drum', 'blue ball']);
    expect(bagOfWordsAccuracy(easy, items(['red kite', 'blue drum']))).toBe(1);
    const ordered = items(['red blue', 'blue red', 'red blue', 'blue red']);
    expect(bagOfWordsAccuracy(ordered, ordered)).toBe(0.5);
  });
});
