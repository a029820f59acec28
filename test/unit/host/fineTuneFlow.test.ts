import { describe, expect, it } from 'vitest';
import {
  configFromAnswers,
  configFromRun,
  configStem,
  freeConfigName,
} from '../../../src/commands/configFile';
import { FineTuneFlow, stepIds, type FineTuneAnswers } from '../../../src/commands/fineTuneFlow';
import { changedSettings } from '../../../src/config/changedSettings';
import { methods, runConfigSchema } from '../../../src/config/runConfig';

const sampleModel = { path: 'sample', name: 'sample', detail: '1.3 M parameters' };
const sampleData = { name: 'arithmetic', detail: '' };
const offer = { models: [sampleModel], data: [sampleData], sampleEpochs: 4 };
const place = {
  directory: '/work/project',
  sampleData: {
    train: '/work/project/.dota/sample/a.train.json',
    validation: '/work/project/.dota/sample/a.validation.json',
    test: '/work/project/.dota/sample/a.test.json',
  },
  tensorboard: false,
};

/** Takes the preselected choice of each step until none is left. */
function acceptAll(flow: FineTuneFlow): FineTuneAnswers {
  for (let guard = 0; flow.step !== undefined && guard < 20; guard++) {
    const { id, choices, preselected } = flow.step;
    const choice = choices[preselected]!;
    if (choice.value === undefined) throw new Error(`${id} preselects a further question`);
    flow.answer(id, choice.value);
  }
  return flow.result!;
}

describe('FineTuneFlow', () => {
  it('reaches the end on Enter alone, with the sample first', () => {
    const answers = acceptAll(new FineTuneFlow(offer));
    expect(answers).toMatchObject({
      model: sampleModel,
      data: sampleData,
      method: 'dota',
      rank: 8,
      length: { epochs: 4 },
      finish: 'start',
    });
  });

  it('leaves out modules and rank for full fine-tuning, and brings them back', () => {
    const flow = new FineTuneFlow(offer);
    flow.answer('model', sampleModel);
    flow.answer('data', sampleData);
    flow.answer('method', 'full');
    expect(flow.step?.id).toBe('length');
    expect([flow.number, flow.total]).toEqual([4, 5]);
    flow.back();
    expect(flow.step?.id).toBe('method');
    expect(flow.step?.choices[flow.step.preselected]?.value).toBe('full');
    flow.answer('method', 'lora');
    expect(flow.step?.id).toBe('targets');
    expect(flow.total).toBe(7);
    expect(stepIds({ method: 'full' })).not.toContain('rank');
  });

  it('keeps an answer when going back over it, and cannot go back from the first', () => {
    const flow = new FineTuneFlow(offer);
    flow.back();
    expect(flow.canGoBack).toBe(false);
    flow.answer('model', sampleModel);
    flow.answer('data', sampleData);
    flow.answer('method', 'dota');
    flow.answer('targets', ['q_proj', 'v_proj']);
    flow.answer('rank', 32);
    flow.back();
    expect(flow.step?.choices[flow.step.preselected]?.value).toBe(32);
    flow.back();
    expect(flow.step?.choices[flow.step.preselected]?.label).toBe('Query and value');
  });

  it('gives no result while a step is open', () => {
    const flow = new FineTuneFlow(offer);
    expect(flow.result).toBeUndefined();
    acceptAll(flow);
    flow.back();
    expect(flow.result).toBeUndefined();
  });

  it('says on the last step what happens next', () => {
    const flow = new FineTuneFlow(offer);
    acceptAll(flow);
    flow.back();
    expect(flow.step?.choices.map((c) => c.detail).join(' ')).toMatch(/starts the run/);
  });
});

describe('the methods on offer', () => {
  /** The flow with model, data and method answered. */
  function answered(method: FineTuneAnswers['method']): FineTuneFlow {
    const flow = new FineTuneFlow(offer);
    flow.answer('model', sampleModel);
    flow.answer('data', sampleData);
    flow.answer('method', method);
    return flow;
  }

  it('are all that the configuration knows, each once and explained', () => {
    const flow = answered('dota');
    flow.back();
    const { choices } = flow.step!;
    expect(choices.map((c) => c.value).sort()).toEqual([...methods].sort());
    for (const { label, detail } of choices) expect(detail?.length, label).toBeGreaterThan(20);
  });

  it.each([
    ['dota', 'Largest bond dimension', 8],
    ['random_mpo', 'Largest bond dimension', 8],
    ['mpop', 'Largest bond dimension', 64],
    ['lora', 'Rank', 8],
    ['loretta', 'Rank', 8],
  ] as const)('%s asks for modules and its %s, %i on Enter', (method, title, usual) => {
    const flow = answered(method);
    expect(flow.step?.id).toBe('targets');
    flow.answer('targets', ['q_proj']);
    const { step } = flow;
    expect(step?.title).toBe(title);
    expect(step?.choices[step.preselected]).toMatchObject({
      value: usual,
      description: 'default',
    });
    expect(acceptAll(flow)).toMatchObject({ method, rank: usual });
  });

  it('warn where the start is not the pretrained model', () => {
    const flow = answered('mpop');
    flow.answer('targets', ['q_proj']);
    expect(flow.step?.placeholder).toMatch(/lacks from the start/);
    flow.back();
    flow.back();
    const { choices, preselected } = flow.step!;
    expect(choices[preselected]?.detail).toMatch(/starts from a changed model/);
  });

  it('keep a rank that was chosen when the method changes', () => {
    const flow = answered('mpop');
    flow.answer('targets', ['q_proj']);
    flow.answer('rank', 16);
    flow.back();
    flow.back();
    flow.back();
    flow.answer('method', 'loretta');
    flow.answer('targets', ['q_proj']);
    expect(flow.step?.choices[flow.step.preselected]?.value).toBe(16);
  });
});

describe('the written configuration', () => {
  const answers = acceptAll(new FineTuneFlow(offer));

  it('is valid for every method, and relative to its folder', () => {
    for (const method of methods) {
      const config = runConfigSchema.parse(configFromAnswers({ ...answers, method }, place));
      expect(config.method).toBe(method);
      expect(config.data.train).toBe('.dota/sample/a.train.json');
      expect(config.training.num_train_epochs).toBe(4);
    }
  });

  it('names a file far away absolutely and one nearby relatively', () => {
    const own = (train: string) =>
      configFromAnswers({ ...answers, data: { train, name: 't', detail: '' } }, place).data.train;
    expect(own('/other/disk/deep/t.json')).toBe('../../other/disk/deep/t.json');
    expect(own('/work/data/t.json')).toBe('../data/t.json');
    const deep = configFromAnswers(
      { ...answers, model: { path: '/m/llama', name: 'llama', detail: '' } },
      { ...place, directory: '/a/b/c/d' },
    );
    expect(deep.model).toBe('/m/llama');
  });

  it('asks for TensorBoard and counts steps where told to', () => {
    const config = configFromAnswers(
      { ...answers, length: { steps: 20 } },
      { ...place, tensorboard: true },
    );
    expect(config.training).toEqual({ max_steps: 20, report_to: ['tensorboard'] });
  });

  it('finds a free, harmless file name', () => {
    expect(configStem(answers)).toBe('sample-arithmetic-dota r8');
    expect(freeConfigName(configStem(answers), new Set())).toBe(
      'sample-arithmetic-dota-r8.dota.json',
    );
    expect(freeConfigName('../../etc/pass wd', new Set())).toBe('etc-pass-wd.dota.json');
    expect(freeConfigName('a', new Set(['a.dota.json', 'a-2.dota.json']))).toBe('a-3.dota.json');
  });
});

describe('a copy of a run', () => {
  const full = runConfigSchema.parse({
    name: 'x',
    data: { train: 'd/t.json', test: 'd/test.json' },
    training: { learning_rate: 0.01 },
    adapter: { rank_pattern: { q_proj: 4 } },
    output_dir: '../elsewhere',
  });

  it('keeps what differs from the defaults and points to the same files', () => {
    expect(configFromRun(full, '/w/a', '/w/b')).toEqual({
      name: 'x (copy)',
      data: { train: '../a/d/t.json', test: '../a/d/test.json' },
      training: { learning_rate: 0.01 },
      adapter: { rank_pattern: { q_proj: 4 } },
    });
  });

  it('parses back to the run’s own values', () => {
    const copy = runConfigSchema.parse(configFromRun(full, '/w/a', '/w/a'));
    expect({ ...copy, name: 'x', output_dir: '../elsewhere' }).toEqual(full);
  });

  it('lists changed settings with their defaults', () => {
    expect(changedSettings(full)).toContainEqual({
      key: 'training.learning_rate',
      value: 0.01,
      default: 0.001,
    });
    expect(changedSettings(full).map((c) => c.key)).not.toContain('training.seed');
  });
});
