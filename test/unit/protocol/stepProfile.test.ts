import { describe, expect, it } from 'vitest';
import { isStepProfile, profileText, type StepProfile } from '../../../src/protocol/stepProfile';

const profile: StepProfile = {
  kind: 'cpu',
  device: 'a processor',
  steps: 5,
  tokensPerStep: 14,
  stepMs: 64.321,
  tokensPerSecond: 217.66,
  gflopPerStep: 9.0131,
  gemmGflops: 159.04,
  gemmShare: 0.456,
  attention: { sequences: 2, keyHeads: 4, queries: 80 },
  profiledStepMs: 100,
  operators: { Gemm: 60.04, Add: 20, Exp: 0.3, Log: 0.16 },
  phases: { forward: 30, backward: 60, context: 0.2 },
  memoryMb: { weights: 4, optimizer: 1 },
  processPeakMb: 1234.5,
};

const tableOf = (title: string, changes: Partial<StepProfile> = {}) => {
  const found = profileText({ ...profile, ...changes }).tables.find(
    (table) => table.title === title,
  );
  return found?.rows.map(({ name, amount, share }) => [name, amount, share]);
};

describe('a profile’s text', () => {
  it('names the share of the machine’s GEMM rate, with three digits', () => {
    const { summary } = profileText(profile);
    expect(summary[0]).toBe('64.3 ms a step of 14 tokens, 218 tokens/s.');
    expect(summary[1]).toContain('Share of the machine’s GEMM rate: 45.6 %.');
    expect(summary[1]).toContain('(9.01 GFLOP) run at 159 GFLOP/s');
  });

  it.each([1.68, -0.2])(
    'makes no share of products that take less time than to call them',
    (share) => {
      const small = { gemmShare: share, gflopPerStep: 0.002163, gemmGflops: 0.0312 / share };
      expect(isStepProfile({ ...profile, ...small })).toBe(true);
      const text = profileText({ ...profile, ...small }).summary.join('\n');
      expect(text).toContain('Share of the machine’s GEMM rate: too small to tell.');
      expect(text).toContain('(2.16 MFLOP)');
      expect(text).not.toContain('168');
      expect(text).not.toContain('GFLOP');
    },
  );

  it('has tables of times that add up to the step under the profiler, what is small summed up', () => {
    expect(tableOf('Time by operator')).toEqual([
      ['Gemm', '60.0', '60.0 %'],
      ['Add', '20.0', '20.0 %'],
      ['between operators', '9.70', '9.7 %'],
      ['outside of graphs', '9.80', '9.8 %'],
      ['other', '0.460', '0.5 %'],
      ['step under the profiler', '100', '100.0 %'],
    ]);
    expect(tableOf('Time by phase')).toEqual([
      ['backward', '60.0', '60.0 %'],
      ['forward', '30.0', '30.0 %'],
      ['outside of graphs', '9.80', '9.8 %'],
      ['other', '0.200', '0.2 %'],
      ['step under the profiler', '100', '100.0 %'],
    ]);
    const notes = profileText(profile).notes.join('\n');
    expect(notes).toContain('add up to a step under it: 100 ms, where it takes 64.3 ms without');
  });

  it('has the total of the kinds of memory beside the process’s peak', () => {
    expect(tableOf('Memory', { gpuInUseMb: 900 })).toEqual([
      ['weights', '4.00', undefined],
      ['optimizer', '1.00', undefined],
      ['total', '5.00', undefined],
      ['process at its peak', '1,235', undefined],
      ['GPU in use by all processes', '900', undefined],
    ]);
  });

  it('says where a GPU’s driver times nothing', () => {
    const blind: StepProfile = { ...profile, kind: 'webgpu', operators: {}, phases: {} };
    const { tables, notes } = profileText(blind);
    expect(tables.map(({ title }) => title)).toEqual(['Memory']);
    expect(notes[0]).toContain('has no timestamps');
  });
});

describe('a profile', () => {
  it('is what the trainer sends', () => {
    expect(isStepProfile(JSON.parse(JSON.stringify(profile)))).toBe(true);
  });

  it.each([
    ['kind', 'gpu'],
    ['stepMs', 'fast'],
    ['stepMs', 0],
    ['phases', { a: 'b' }],
    ['attention', { sequences: 1 }],
    ['gpuInUseMb', '900'],
  ])('is not one with %s %j', (key, value) => {
    expect(isStepProfile({ ...profile, [key]: value })).toBe(false);
  });
});
