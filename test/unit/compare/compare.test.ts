import { describe, expect, it } from 'vitest';
import {
  comparisonFacts,
  comparisonProblems,
  describeProblem,
} from '../../../src/compare/comparable';
import { curvesSvg, paretoSvg } from '../../../src/compare/figure';
import { groupRuns, meanCurve, paretoFront } from '../../../src/compare/groups';
import { methodTitle } from '../../../src/compare/methodTitle';
import { pairedDifference, studentT95, summarize } from '../../../src/compare/statistics';
import {
  comparisonColumns,
  comparisonCsv,
  comparisonLatex,
  comparisonMarkdown,
} from '../../../src/compare/tables';
import { parseRunConfig } from '../../../src/config/parseRunConfig';
import type { CompareRun, ComparisonFacts } from '../../../src/protocol/comparison';
import type { RunManifest } from '../../../src/protocol/runFiles';

const hash = (digit: string): string => digit.repeat(64);

function manifest(change: Partial<RunManifest> = {}, config: object = {}): RunManifest {
  return {
    formatVersion: 1,
    id: 'a',
    name: 'a',
    state: 'finished',
    createdAt: '',
    config: parseRunConfig(
      JSON.stringify({ data: { train: 't', validation: 'v' }, ...config }),
      '',
    ),
    configDirectory: '/',
    fingerprint: {
      baseWeights: hash('1'),
      tokenizer: hash('2'),
      trainData: hash('3'),
      validationData: hash('4'),
      dataPolicy: 'completion|alpaca|128|keep_start',
      evaluationData: hash('5'),
    },
    versions: { dota: '', node: '', onnxruntime: '', platform: '' },
    progress: { step: 10, totalSteps: 10, epoch: 1, tokens: 1000 },
    ...change,
  };
}

const facts = (change: Partial<ComparisonFacts> = {}): ComparisonFacts => ({
  ...comparisonFacts(manifest()),
  ...change,
});

describe('the guard', () => {
  it('says nothing of equal runs, whatever their method and seed', () => {
    const other = manifest({ id: 'b' }, { method: 'lora', training: { seed: 7 } });
    expect(
      comparisonProblems([
        { id: 'a', facts: facts() },
        { id: 'b', facts: comparisonFacts(other) },
      ]),
    ).toEqual([]);
  });

  // Each fact alone must be noticed, with the severity that the numbers' meaning asks for.
  it.each([
    ['validationData', hash('9'), 'refuse'],
    ['evaluationData', hash('9'), 'refuse'],
    ['split', '0.05 of the training file, seed 1', 'refuse'],
    ['lossMask', 'all', 'refuse'],
    ['template', 'llm-adapters', 'refuse'],
    ['sequences', '256|keep_start', 'refuse'],
    ['tokenizer', hash('9'), 'refuse'],
    ['baseWeights', hash('9'), 'flag'],
    ['trainData', hash('9'), 'flag'],
    ['sequencesSeen', 81, 'flag'],
    ['tokens', 1100, 'flag'],
  ] as const)('names a differing %s', (fact, value, severity) => {
    const problems = comparisonProblems([
      { id: 'a', facts: facts() },
      { id: 'b', facts: facts() },
      { id: 'c', facts: facts({ [fact]: value }) },
    ]);
    expect(problems.map((p) => [p.fact, p.severity])).toEqual([[fact, severity]]);
    expect(problems[0]!.values.map(({ runs }) => runs)).toEqual([['a', 'b'], ['c']]);
    expect(describeProblem(problems[0]!)).toContain('(c)');
  });

  it('reads every fact from a manifest, and an unrecorded one differs from a recorded one', () => {
    expect(facts()).toEqual({
      baseWeights: hash('1'),
      tokenizer: hash('2'),
      trainData: hash('3'),
      validationData: hash('4'),
      split: 'file',
      lossMask: 'completion',
      template: 'alpaca',
      sequences: '128|keep_start',
      evaluationData: hash('5'),
      sequencesSeen: 80,
      tokens: 1000,
    });
    const bare = manifest();
    delete bare.fingerprint;
    const problems = comparisonProblems([
      { id: 'a', facts: facts() },
      { id: 'b', facts: comparisonFacts(bare) },
    ]);
    expect(problems.map((p) => p.fact)).toContain('validationData');
  });

  it('lets token counts of one budget differ as seeds make them differ', () => {
    const pair = (tokens: number): number =>
      comparisonProblems([
        { id: 'a', facts: facts() },
        { id: 'b', facts: facts({ tokens }) },
      ]).length;
    expect([pair(1040), pair(1060), pair(0)]).toEqual([0, 1, 0]);
  });
});

describe('statistics', () => {
  it('agree with closed forms', () => {
    const { mean, sd, margin } = summarize([1, 2, 3, 4, 5]);
    expect(mean).toBe(3);
    expect(sd).toBeCloseTo(Math.sqrt(2.5), 12);
    // t(4) = 2.776: tables of Student's distribution.
    expect(margin).toBeCloseTo((2.776 * Math.sqrt(2.5)) / Math.sqrt(5), 12);
    expect(summarize([1]).margin).toBeNaN();
    // Tables: 2.040 for 31, 1.984 for 100 degrees of freedom.
    expect(studentT95(31)).toBeCloseTo(2.04, 2);
    expect(studentT95(100)).toBeCloseTo(1.984, 3);
  });

  it('pair by seed and leave the others out', () => {
    const difference = pairedDifference(
      new Map([
        [0, 3],
        [1, 5],
        [2, 9],
      ]),
      new Map([
        [1, 4],
        [0, 1],
        [5, 0],
      ]),
    );
    expect(difference.n).toBe(2);
    expect(difference.mean).toBe(1.5);
    // Differences 2 and 1: sd sqrt(1/2), standard error 1/2.
    expect(difference.standardErrors).toBeCloseTo(3, 12);
  });
});

function run(id: string, seed: number, loss: number, settings: Record<string, string>): CompareRun {
  return {
    id,
    name: id,
    state: 'finished',
    method: settings.method === '"lora"' ? 'LoRA' : 'DoTA',
    seed,
    settings,
    facts: facts(),
    curve: { step: [0, 10], tokens: [0, 100], elapsed: [0, 2], loss: [2, loss] },
    best: { step: 10, loss },
    last: loss,
    parameters: settings.method === '"lora"' ? 200 : 100,
    accuracy: { split: 'test', correct: 50 + seed, total: 100 },
  };
}
const runs = [
  run('a', 0, 1, { method: '"dota"', 'adapter.r': '4' }),
  run('b', 1, 1.2, { method: '"dota"', 'adapter.r': '4' }),
  run('c', 0, 1.5, { method: '"lora"', 'adapter.r': '2' }),
  run('d', 0, 0.9, { method: '"dota"', 'adapter.r': '<8>' }),
];

describe('groups', () => {
  const groups = groupRuns(runs);

  it('hold seeds together and tell groups apart by what differs', () => {
    expect(groups.map(({ label, runs: r }) => [label, r.length])).toEqual([
      ['DoTA, r 4', 2],
      ['LoRA', 1],
      ['DoTA, r <8>', 1],
    ]);
    expect(Object.keys(groups[0]!.differing)).toEqual(['method', 'adapter.r']);
    expect(groups[0]!.best?.mean).toBeCloseTo(1.1, 12);
    expect(groups[0]!.accuracy).toMatchObject({ correct: 101, total: 200, split: 'test' });
  });

  it('average curves over seeds with one standard deviation around them', () => {
    const curve = meanCurve(groups[0]!.runs, 'tokens');
    expect(curve.x).toEqual([0, 100]);
    expect(curve.mean[1]).toBeCloseTo(1.1, 12);
    expect(curve.high[1]! - curve.mean[1]!).toBeCloseTo(Math.SQRT2 / 10, 12);
  });

  it('put only unbeaten groups on the front', () => {
    expect(paretoFront(groups).map((g) => g.label)).toEqual(['DoTA, r <8>']);
  });

  it('become tables that escape what they quote', () => {
    const columns = comparisonColumns(groups);
    const markdown = comparisonMarkdown(groups, columns);
    expect(markdown).toContain('| DoTA, r 4 | 2 | 100 | 1.1000 ± ');
    expect(markdown).toContain('Accuracy % (test)');
    // Wilson at 95 % of 50 in 100.
    expect(markdown).toContain('50.0 [40.4, 59.6]');
    expect(comparisonLatex(groups, columns)).toContain('Accuracy \\% (test)');
    const csv = comparisonCsv(groups).split('\r\n');
    expect(csv).toHaveLength(6);
    expect(csv[1]).toBe('"DoTA, r 4",DoTA,a,0,100,1,10,1,test,50,100,,,,dota,4');
  });

  it('become figures in which names are text', () => {
    for (const text of [
      curvesSvg(groups, { axis: 'step', title: 'A & B' }),
      paretoSvg(groups, { title: 'A & B', note: 'incomplete' }),
    ]) {
      expect(text).toContain('A &amp; B');
      expect(text).toContain('r &lt;8&gt;');
      expect(text).not.toMatch(/NaN|undefined|Infinity/);
    }
    // Three groups: two bands need two points each, so all three have one.
    expect(curvesSvg(groups, { axis: 'step', title: '' }).match(/<polygon/g)).toHaveLength(3);
    expect(curvesSvg([], { axis: 'step', title: '' })).not.toMatch(/NaN|Infinity/);
  });
});

it('names methods as papers do', () => {
  const title = (config: object): string => methodTitle(config);
  expect(title({ method: 'dota', quantization: { load_in_4bit: true } })).toBe('QDoTA');
  expect(title({ method: 'lora', adapter: { init_lora_weights: 'pissa' } })).toBe('PiSSA');
  expect(title({ method: 'lora', adapter: { use_dora: true } })).toBe('DoRA');
  expect(title({ method: 'full' })).toBe('Full fine-tuning');
});
