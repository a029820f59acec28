import { describe, expect, it } from 'vitest';
import { profileMarkdown } from '../../../src/host/profileReport';

const report = {
  kind: 'cpu',
  device: 'A <b>CPU</b> | x',
  steps: 5,
  stepMs: 20,
  tokensPerStep: 100,
  tokensPerSecond: 5000,
  gflopPerStep: 1.5,
  gemmGflops: 80,
  gemmShare: 0.9,
  attention: { sequences: 1, keyHeads: 1, queries: 1 },
  profiledStepMs: 24,
  operators: { Gemm: 15, Add: 5, 'a|b': 1 },
  phases: { forward: 8, backward: 14 },
  memoryMb: { weights: 4 },
  processPeakMb: 200,
};

describe('the profile’s report', () => {
  it('has tables with shares, and no markup from names', () => {
    const text = profileMarkdown('my_run.dota.json', report);
    expect(text).toContain('# Profile of my\\_run.dota.json\n');
    expect(text).toContain(
      '| | ms a step | share |\n| --- | ---: | ---: |\n| Gemm | 15.0 | 62.5 % |',
    );
    expect(text).toContain('| a\\|b | 1.00 | 4.2 % |');
    expect(text).toContain('| | MB |\n| --- | ---: |\n| weights | 4.00 |');
    expect(text).toContain('Share of the machine’s GEMM rate: 90.0 %');
    expect(text).toContain('add up to a step under it: 24.0 ms');
    expect(text).not.toContain('<b>');
    expect(text).not.toContain('[object');
  });

  it.each([undefined, {}, { ...report, stepMs: 'fast' }, { ...report, phases: { a: 'b' } }])(
    'is refused where it is malformed: %j',
    (broken) => {
      expect(() => profileMarkdown('x', broken)).toThrow('not what was expected');
    },
  );
});
