import { expect, it } from 'vitest';
import { profileLines } from '../../../src/trainer/profile/profileLines';

it('a profile in a terminal has the points of its amounts below each other', () => {
  const lines = profileLines({
    kind: 'cpu',
    device: 'a processor',
    steps: 5,
    tokensPerStep: 1021,
    stepMs: 100,
    tokensPerSecond: 10210,
    gflopPerStep: 9,
    gemmGflops: 150,
    gemmShare: 0.6,
    attention: { sequences: 16, keyHeads: 4, queries: 80 },
    profiledStepMs: 150,
    operators: { Gemm: 101.2, Softmax: 1.5 },
    phases: { backward: 104 },
    memoryMb: { weights: 0.125 },
    processPeakMb: 1234,
  });
  expect(lines[0]).toMatch(/^a processor: 100 ms a step of 1,021 tokens, 10,210 tokens\/s\.\n/);
  const start = lines.indexOf('Time by operator (ms a step):');
  expect(lines.slice(start, start + 6)).toEqual([
    'Time by operator (ms a step):',
    '  Gemm                     101      67.5 %',
    '  Softmax                    1.50    1.0 %',
    '  between operators          1.30    0.9 %',
    '  outside of graphs         46.0    30.7 %',
    '  step under the profiler  150     100.0 %',
  ]);
  const memory = lines.indexOf('Memory (MB):');
  expect(lines.slice(memory + 1, memory + 4)).toEqual([
    '  weights                  0.125',
    '  total                    0.125',
    '  process at its peak  1,234',
  ]);
  expect(lines.at(-2)).toContain(
    'add up to a step under it: 150 ms, where it takes 100 ms without',
  );
});
