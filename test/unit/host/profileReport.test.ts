import { describe, expect, it } from 'vitest';
import { profileMarkdown } from '../../../src/host/profileReport';

const report = {
  device: 'A <b>CPU</b> | x',
  stepMs: 20,
  tokensPerStep: 100,
  tokensPerSecond: 5000,
  gflopPerStep: 1.5,
  gemmGflops: 80,
  gemmShare: 0.9,
  operators: { Gemm: 15, Add: 5 },
  phases: { forward: 8, backward: 12 },
  memoryMb: { weights: 4 },
};

describe('the profile’s report', () => {
  it('has tables with shares, and no markup from names', () => {
    const text = profileMarkdown('my_run.dota.json', report);
    expect(text).toContain('| Gemm | 15.0 | 75.0 % |');
    expect(text).toContain('| weights | 4.0 |');
    expect(text).toContain('90.0 %');
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
