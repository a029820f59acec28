import { describe, expect, it } from 'vitest';
import { countTrainable } from '../../../src/adapters/plan';
import { runConfigSchema } from '../../../src/config/runConfig';
import { parseModelConfig } from '../../../src/models/config';
import { readFileSync } from 'node:fs';
import { nearestRank, sizeForBudget } from '../../../src/study/budget';
import { designHash } from '../../../src/study/design';
import { parseStudy } from '../../../src/study/parseStudy';
import { chooseRates, configKey, planMain, planSweep } from '../../../src/study/plan';
import { ResultsFile } from '../../../src/study/resultsFile';
import { studyConfigSchema, type StudyConfigInput } from '../../../src/study/studyConfig';

const sample = parseModelConfig(
  readFileSync('media/sample/model/config.json', 'utf8'),
  'config.json',
);
const context = { models: new Map([['sample', sample]]), resolve: (p: string) => `/abs/${p}` };

const input: StudyConfigInput = {
  name: 'Test',
  methods: {
    DoTA: { method: 'dota' },
    LoRA: { method: 'lora' },
    Full: { method: 'full' },
  },
  tasks: {
    a: { train: 'a.train', validation: 'a.validation', test: 'a.test' },
    b: { train: 'b.train', validation: 'b.validation' },
  },
  budgets: [20_000],
  seeds: [0, 1],
  learning_rates: [0.001, 0.01],
  training: { max_steps: 10 },
  ablations: [
    {
      name: 'cores',
      method: 'DoTA',
      seeds: [0],
      variants: { two: { adapter: { mpo_cores: 2 }, match_budget: true }, three: {} },
    },
  ],
};
const study = studyConfigSchema.parse(input);
const rates = new Map([
  ['DoTA', 0.01],
  ['LoRA', 0.001],
  ['Full', 0.001],
]);

describe('ranks for a budget', () => {
  it('is the nearest one, the lower of two, and the smallest where the bonds are full', () => {
    const linear = (r: number): number => 100 * r;
    expect(nearestRank(linear, 240)).toEqual({ r: 2, parameters: 200 });
    expect(nearestRank(linear, 250)).toEqual({ r: 2, parameters: 200 });
    expect(nearestRank(linear, 260)).toEqual({ r: 3, parameters: 300 });
    expect(nearestRank(linear, 1)).toEqual({ r: 1, parameters: 100 });
    expect(nearestRank((r) => 100 * Math.min(r, 5), 10_000)).toEqual({ r: 5, parameters: 500 });
  });

  it('no other rank of any method comes closer to the budget', () => {
    const methods = ['dota', 'random_mpo', 'mpop', 'lora', 'loretta'] as const;
    for (const method of methods) {
      const { adapter } = runConfigSchema.parse({ data: { train: '-' } });
      for (const budget of [5_000, 20_000, 57_000]) {
        const size = sizeForBudget(method, sample, adapter, budget);
        const count = (change: typeof size): number =>
          countTrainable(method, sample, { ...adapter, ...change });
        const [[key, chosen]] = Object.entries(size) as [[keyof typeof size, number]];
        const distance = Math.abs(count(size) - budget);
        for (let other = 1; other <= Math.min(20, 2 * chosen); other++) {
          const away = Math.abs(count({ [key]: other }) - budget);
          expect(away, `${method} ${budget} ${other}`).toBeGreaterThanOrEqual(distance);
        }
      }
    }
  });

  it('stops at the full bonds, beyond which a rank is refused', () => {
    const { adapter } = runConfigSchema.parse({ adapter: { mpo_cores: 2 }, data: { train: '-' } });
    const { r = 0 } = sizeForBudget('dota', sample, adapter, 1e12);
    expect(() => countTrainable('dota', sample, { ...adapter, r })).not.toThrow();
    expect(() => countTrainable('dota', sample, { ...adapter, r: r + 1 })).toThrow(/full bond/);
  });
});

describe('the plan', () => {
  const sweep = planSweep(study, context);
  const main = planMain(study, context, rates);

  it('sweeps the same rates for every method, on one task and seed', () => {
    expect(sweep).toHaveLength(6);
    for (const method of Object.keys(study.methods)) {
      expect(sweep.filter((r) => r.method === method).map((r) => r.learningRate)).toEqual([
        0.001, 0.01,
      ]);
    }
    expect(new Set(sweep.map((r) => `${r.task} ${r.seed}`))).toEqual(new Set(['a 0']));
  });

  it('has every method, task and seed once, all at the swept rate, seeds in turn', () => {
    const own = main.filter((r) => r.stage === 'main');
    expect(own).toHaveLength(3 * 2 * 2);
    expect(own.map((r) => r.seed)).toEqual([
      ...Array<number>(6).fill(0),
      ...Array<number>(6).fill(1),
    ]);
    for (const run of own) {
      expect(run.config.training.learning_rate).toBe(rates.get(run.method));
      expect(run.config.training.seed).toBe(run.seed);
    }
  });

  it('withholds the test file from every run', () => {
    expect([...sweep, ...main].filter((r) => r.config.data.test !== undefined)).toEqual([]);
  });

  it('shares runs between sweep and main where they are the same', () => {
    const keys = new Set(sweep.map((r) => r.key));
    const shared = main.filter((r) => keys.has(r.key));
    // Three methods at seed 0 on task a, and the ablation that is the method as it is.
    expect(shared.map((r) => [r.method, r.task, r.stage])).toEqual([
      ['DoTA', 'a', 'main'],
      ['LoRA', 'a', 'main'],
      ['Full', 'a', 'main'],
      ['DoTA', 'a', 'ablation'],
    ]);
  });

  it('matches the budget again where an ablation asks for it', () => {
    const [two] = main.filter((r) => r.label === 'two');
    const dota = main.find((r) => r.method === 'DoTA' && r.stage === 'main')!;
    expect(two!.config.adapter.mpo_cores).toBe(2);
    expect(two!.config.adapter.r).not.toBe(dota.config.adapter.r);
    const count = countTrainable('dota', sample, two!.config.adapter);
    expect(Math.abs(count - 20_000)).toBeLessThan(6_000);
  });

  it('changes of a variant what it names and nothing else', () => {
    const varied = studyConfigSchema.parse({
      ...input,
      methods: { DoTA: { method: 'dota', adapter: { mpo_cores: 4, r: 5 } } },
      budgets: undefined,
      ablations: [
        {
          name: 'gauge',
          method: 'DoTA',
          variants: { left: { adapter: { gauge: 'left' }, training: { weight_decay: 0.5 } } },
        },
      ],
    });
    const [run] = planMain(varied, context, rates).filter((r) => r.stage === 'ablation');
    expect(run!.config.adapter).toMatchObject({ mpo_cores: 4, r: 5, gauge: 'left' });
    expect(run!.config.training).toMatchObject({ max_steps: 10, weight_decay: 0.5 });
    // The same with a budget: the rank is the one that the method itself was given.
    const matched = studyConfigSchema.parse({
      ...input,
      ablations: [
        { name: 'gauge', method: 'DoTA', variants: { left: { adapter: { gauge: 'left' } } } },
      ],
    });
    const all = planMain(matched, context, rates);
    const ofMethod = all.find((r) => r.method === 'DoTA' && r.stage === 'main')!;
    const ofAblation = all.find((r) => r.stage === 'ablation')!;
    expect(ofAblation.config.adapter.r).toBe(ofMethod.config.adapter.r);
    expect(ofMethod.config.adapter.r).not.toBe(8);
  });

  it('gives a task’s runs its own training, and those of other tasks the keys they had', () => {
    const longer = studyConfigSchema.parse({
      ...input,
      tasks: { ...input.tasks, b: { ...input.tasks['b']!, training: { max_steps: 30 } } },
      ablations: [
        ...input.ablations!,
        {
          name: 'on b',
          method: 'DoTA',
          task: 'b',
          variants: { own: { training: { max_steps: 7 } }, 'the task’s': {} },
        },
      ],
    });
    expect(planSweep(longer, context).map(({ key }) => key)).toEqual(sweep.map(({ key }) => key));
    const runs = planMain(longer, context, rates);
    const keys = (all: typeof runs, task: string): string[] =>
      all.filter((r) => r.task === task && r.ablation !== 'on b').map(({ key }) => key);
    expect(keys(runs, 'a')).toEqual(keys(main, 'a'));
    const old = new Set(keys(main, 'b'));
    expect(keys(runs, 'b').filter((key) => old.has(key))).toEqual([]);
    const steps = (filter: (r: (typeof runs)[number]) => boolean): Set<number> =>
      new Set(runs.filter(filter).map(({ config }) => config.training.max_steps));
    expect(steps((r) => r.stage === 'main' && r.task === 'b')).toEqual(new Set([30]));
    expect(steps((r) => r.label === 'own')).toEqual(new Set([7]));
    expect(steps((r) => r.label === 'the task’s')).toEqual(new Set([30]));
    expect(runs.filter((r) => 'training' in r.config.data)).toEqual([]);
    // A sweep is a run on its task like any other.
    const swept = planSweep({ ...longer, sweep: { seed: 0, task: 'b' } }, context);
    expect(new Set(swept.map(({ config }) => config.training.max_steps))).toEqual(new Set([30]));
  });

  it('keys runs by what they compute, not by their name or place', () => {
    const { declared } = main[0]!;
    expect(configKey({ ...declared, name: 'x', output_dir: 'y' })).toBe(configKey(declared));
    expect(configKey({ ...declared, threads: 3 })).not.toBe(configKey(declared));
  });

  it('keys runs alike on another machine, where they lie elsewhere', () => {
    const elsewhere = planMain(study, { ...context, resolve: (p) => `/elsewhere/${p}` }, rates);
    expect(elsewhere.map(({ key }) => key)).toEqual(main.map(({ key }) => key));
    expect(elsewhere[0]!.config.data.train).toBe('/elsewhere/a.train');
    expect(main[0]!.config.data.train).toBe('/abs/a.train');
  });
});

describe('the choice of rates', () => {
  const sweep = planSweep(study, context);
  const loss = (losses: Record<string, number | undefined>) => (key: string) => {
    const run = sweep.find((r) => r.key === key)!;
    return losses[`${run.method} ${run.learningRate}`];
  };

  it('takes the lowest loss, counts a diverged rate as worst, and waits for missing ones', () => {
    const chosen = chooseRates(
      study,
      sweep,
      loss({
        'DoTA 0.001': 2,
        'DoTA 0.01': 1,
        'LoRA 0.001': 3,
        'LoRA 0.01': Infinity,
        'Full 0.01': 1,
      }),
    );
    expect([...chosen]).toEqual([
      ['DoTA', { rate: 0.01, atEdge: true }],
      ['LoRA', { rate: 0.001, atEdge: true }],
    ]);
  });
});

describe('the study file', () => {
  it('has no place for a rate of one method alone, and names a wrong key', () => {
    const text = JSON.stringify({
      ...input,
      methods: { DoTA: { method: 'dota', learning_rate: 1 } },
    });
    expect(() => parseStudy(text, 's.json')).toThrow(/methods\.DoTA.*learning_rate/);
    const rate = JSON.stringify({ ...input, training: { learning_rate: 1 } });
    expect(() => parseStudy(rate, 's.json')).toThrow(/learning_rate/);
    const noValidation = JSON.stringify({ ...input, tasks: { a: { train: 'a' } } });
    expect(() => parseStudy(noValidation, 's.json')).toThrow(/validation/);
  });

  const ours = ['sample', 'preliminary', 'quick', 'orders-random', 'orders-full'];
  it.each(ours)('scripts/study/%s is valid', (name) => {
    const file = `scripts/study/${name}.dota-study.json`;
    expect(parseStudy(readFileSync(file, 'utf8'), file).learning_rates.length).toBeGreaterThan(0);
  });
});

describe('the studies that look at the stated orders again', () => {
  it.each(['orders-random', 'orders-full'])(
    '%s has runs of the study, as they are',
    async (name) => {
      const file = `scripts/study/${name}.dota-study.json`;
      const again = parseStudy(readFileSync(file, 'utf8'), file);
      const rate = again.learning_rates[0]!;
      const chosen = new Map(Object.keys(again.methods).map((method) => [method, rate]));
      const results = await ResultsFile.open('docs/study/results.jsonl');
      const runs = planMain(again, context, chosen);
      expect(runs.map(({ task }) => task)).toEqual(['arithmetic', 'lists']);
      for (const { key, method, task, seed } of runs) {
        const of = results.find(key);
        expect(of, `${method}, ${task}`).toMatchObject({ method, task, run: { seed } });
      }
    },
  );
});

describe('the design of a task', () => {
  const a = designHash(study, 'a');
  const b = designHash(study, 'b');
  const changedBy = (change: Partial<StudyConfigInput>): string[] => {
    const other = studyConfigSchema.parse({ ...input, ...change });
    return [
      designHash(other, 'a') === a ? '' : 'a',
      designHash(other, 'b') === b ? '' : 'b',
    ].filter((task) => task !== '');
  };

  it('changes with the runs, not with words, places and the test file’s path', () => {
    expect(changedBy({ name: 'Other', claims: [] })).toEqual([]);
    expect(changedBy({ output_dir: 'x', results: 'y' })).toEqual([]);
    expect(
      changedBy({ tasks: { ...input.tasks, a: { ...input.tasks['a']!, test: 'x' } } }),
    ).toEqual([]);
    for (const change of [
      { seeds: [0] },
      { learning_rates: [0.01] },
      { budgets: [30_000] },
      { methods: { DoTA: { method: 'dota' as const } }, ablations: [] },
      { training: { max_steps: 20 } },
      { threads: 2 },
      { sweep: { seed: 1 } },
    ]) {
      expect(changedBy(change), JSON.stringify(change)).toEqual(['a', 'b']);
    }
  });

  it('changes with what is said of its own task alone', () => {
    const training = { max_steps: 20 };
    const longer = { ...input.tasks['b']!, training };
    expect(changedBy({ tasks: { ...input.tasks, b: longer } })).toEqual(['b']);
    // Said of the task what is shared anyway.
    const same = { ...input.tasks['b']!, training: { max_steps: 10 } };
    expect(changedBy({ tasks: { ...input.tasks, b: same } })).toEqual([]);
    const other = { ...input.tasks['b']!, train: 'x' };
    expect(changedBy({ tasks: { ...input.tasks, b: other } })).toEqual(['b']);
    // The ablation is on the first task.
    expect(changedBy({ ablations: [] })).toEqual(['a']);
  });

  it('changes with the task on which the rates are swept', () => {
    const longer = { ...input.tasks['a']!, training: { max_steps: 20 } };
    expect(changedBy({ tasks: { ...input.tasks, a: longer } })).toEqual(['a', 'b']);
    expect(changedBy({ sweep: { task: 'b' } })).toEqual(['a', 'b']);
    expect(changedBy({ sweep: { task: 'a' } })).toEqual([]);
    // The first task is swept where none is named.
    const { a: first, b: second } = input.tasks;
    const moved = studyConfigSchema.parse({
      ...input,
      tasks: { b: second!, a: first! },
      ablations: [],
    });
    const unmoved = studyConfigSchema.parse({ ...input, ablations: [] });
    expect(designHash(moved, 'b')).not.toBe(designHash(unmoved, 'b'));
  });
});
