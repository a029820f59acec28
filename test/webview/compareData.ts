/** Made-up runs of three methods and seeds for the compare panel's tests. */
import type { CompareRun, ComparisonFacts } from '../../src/protocol/comparison';

const hash = (digit: string): string => digit.repeat(64);

export const facts: ComparisonFacts = {
  baseWeights: hash('1'),
  tokenizer: hash('2'),
  trainData: hash('3'),
  validationData: hash('4'),
  split: 'file',
  lossMask: 'completion',
  template: 'alpaca',
  sequences: '128|keep_start',
  evaluationData: hash('5'),
  sequencesSeen: 3200,
  tokens: 190_000,
};

const methods: { method: string; settings: Record<string, string>; size: number; end: number }[] = [
  { method: 'DoTA', settings: { method: '"dota"', 'adapter.r': '4' }, size: 18_176, end: 0.05 },
  { method: 'LoRA', settings: { method: '"lora"', 'adapter.r': '2' }, size: 20_480, end: 0.11 },
  { method: 'Full fine-tuning', settings: { method: '"full"' }, size: 1_131_392, end: 0.03 },
];

/** Three methods x three seeds, eleven evaluations each. */
export function compareRuns(): CompareRun[] {
  return methods.flatMap(({ method, settings, size, end }, m) =>
    [0, 1, 2].map((seed): CompareRun => {
      const steps = Array.from({ length: 11 }, (_, i) => 20 * i);
      const loss = steps.map((s) => end + 2.4 * Math.exp(-s / (30 + 6 * m)) + 0.02 * seed);
      return {
        id: `20260101-00000${m}-000${seed}`,
        name: `${method} ${seed}`,
        state: 'finished',
        method,
        seed,
        settings,
        facts,
        curve: {
          step: steps,
          tokens: steps.map((s) => s * 950 + seed),
          elapsed: steps.map((s) => s * (0.2 + 0.05 * m)),
          loss,
        },
        best: { step: 200, loss: loss.at(-1) ?? NaN },
        last: loss.at(-1) ?? NaN,
        parameters: size,
        peakRssMb: 260 + 40 * m,
        tokensPerSecond: 5200 - 300 * m,
        seconds: 40,
        accuracy: { split: 'test', correct: 400 + 20 * seed, total: 500 },
      };
    }),
  );
}
