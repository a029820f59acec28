import { expect, it } from 'vitest';
import type { TrainerProgress } from '../../../src/protocol/trainerMessages';
import { ProgressLine } from '../../../src/trainer/commands/progressLine';

/** What a terminal of a width shows for a state of progress. */
function drawn(progress: TrainerProgress, columns = 120): string {
  let written = '';
  const stream = { isTTY: true, columns, write: (text: string) => ((written += text), true) };
  new ProgressLine(stream as unknown as NodeJS.WriteStream).progress(progress);
  // Carriage return and "erase line" come before the text.
  return written.slice('\r\x1b[2K'.length);
}

const training: TrainerProgress = {
  phase: 'training',
  step: 12,
  totalSteps: 100,
  epoch: 0.1,
  loss: 1.5,
  tokensPerSecond: 4521.4,
  rssMb: 724.3,
  secondsLeft: 65,
};

it('says whose memory it is', () => {
  expect(drawn(training)).toBe(
    'step 12/100 · loss 1.5000 · 4521 tokens/s · 1m 05s left · RAM 724 MB',
  );
  expect(drawn({ ...training, deviceMb: 0.2 })).toMatch(/ · GPU 0\.2 MB · RAM 724 MB$/);
});

it('keeps the time left where a terminal is narrow', () => {
  expect(drawn({ ...training, deviceMb: 6120 }, 62)).toMatch(/ · 1m 05s left · GPU/);
});

it('says that the GPU is asked, and how far a phase is', () => {
  const at = { step: 0, totalSteps: 0, epoch: 0 };
  expect(drawn({ ...at, phase: 'probing' })).toBe('asking the GPU');
  expect(drawn({ ...at, phase: 'decomposing', done: 3, total: 28, totalSteps: 100 })).toBe(
    'decomposing 3/28 (step 0/100)',
  );
});
