import { Tokenizer } from '@huggingface/tokenizers';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { makeArithmetic } from '../../../scripts/sample/arithmetic';
import { makeLists, makeStudyLists } from '../../../scripts/sample/lists';
import { drawDocuments } from '../../../scripts/sample/pretrainingText';
import { splitOf, splits } from '../../../scripts/sample/problems';
import { Random } from '../../../scripts/sample/random';
import { isStated, type Operation } from '../../../scripts/sample/world';

const sets = makeLists(new Random(3), { train: 1500, validation: 100, test: 300 });

function statedSums(output: string) {
  return [...output.matchAll(/(\d+) (plus|minus) (\d+) equals (\d+)\./g)].map((m) => ({
    left: Number(m[1]),
    operation: m[2] as Operation,
    right: Number(m[3]),
    result: Number(m[4]),
  }));
}

function problemOf({ output }: { output: string }): string {
  const sums = statedSums(output);
  return `${sums.map((s) => s.left).join(' ')} ${sums[0]!.operation} ${sums[0]!.right}`;
}

describe('the lists task', () => {
  it('has right answers only, from sums that the pretraining text states', () => {
    for (const { instruction, output, answer } of [...sets.train, ...sets.test]) {
      const sums = statedSums(output);
      for (const { left, operation, right, result } of sums) {
        expect(operation === 'plus' ? left + right : left - right).toBe(result);
        expect(isStated(left, operation, right)).toBe(true);
      }
      expect(answer).toBe(sums.map((s) => s.result).join(' '));
      expect(output.endsWith(`. The answer is ${answer}`)).toBe(true);
      const asked = instruction.match(/\d+/g);
      expect(asked).toEqual([...sums.map((s) => String(s.left)), String(sums[0]!.right)]);
    }
  });

  it('has no problem twice, in one split or in two', () => {
    const problems = splits.flatMap((split) =>
      sets[split].map((item) => {
        const problem = problemOf(item);
        expect(splitOf(problem)).toBe(split);
        return problem;
      }),
    );
    expect(new Set(problems).size).toBe(problems.length);
  });

  it('has a second test split for the study, of the same rule and with none of the first problems', () => {
    const counts = { train: 1500, validation: 100, test: 300 };
    const study = makeStudyLists(new Random(3), counts);
    expect([study.train, study.validation]).toEqual([sets.train, sets.validation]);
    expect(study.test).toHaveLength(300);
    const known = new Set([...sets.train, ...sets.validation, ...sets.test].map(problemOf));
    const fresh = study.test.map(problemOf);
    expect(fresh.filter((problem) => known.has(problem))).toEqual([]);
    expect(new Set(fresh).size).toBe(300);
    expect(new Set(fresh.map(splitOf))).toEqual(new Set(['test']));
  });

  it('emits tokens only that pretraining predicts, each in at least 20 distinct contexts', () => {
    const read = (name: string): object =>
      JSON.parse(readFileSync(`media/sample/model/${name}`, 'utf8')) as object;
    const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
    const contexts = new Map<number, Set<string>>();
    for (const document of drawDocuments(new Random(0), 4000)) {
      const ids = tokenizer.encode(document).ids;
      ids.forEach((id, t) => {
        const context = ids.slice(Math.max(0, t - 4), t).join(' ');
        contexts.set(id, (contexts.get(id) ?? new Set()).add(context));
      });
    }
    const emitted = new Set(
      sets.test.flatMap(({ output }) => tokenizer.encode(output).ids.slice(1)),
    );
    expect(emitted.size).toBeGreaterThan(20);
    const rare = [...emitted].filter((id) => (contexts.get(id)?.size ?? 0) < 20);
    expect(rare.map((id) => tokenizer.decode([id]))).toEqual([]);
  });

  it('is another task than the arithmetic one: no instruction is shared', () => {
    const other = makeArithmetic(new Random(2), { train: 1500, validation: 100, test: 300 });
    const known = new Set(splits.flatMap((split) => other[split].map((i) => i.instruction)));
    expect(splits.flatMap((s) => sets[s]).filter((i) => known.has(i.instruction))).toEqual([]);
  });
});
