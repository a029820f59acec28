import { describe, expect, it } from 'vitest';
import { decoderOf, defaults } from '../../../bench/step/setup';
import { runConfigSchema } from '../../../src/config/runConfig';
import { estimateTraining } from '../../../src/estimate/estimateTraining';
import { fitMemory } from '../../../src/estimate/fitMemory';

const { adapter } = runConfigSchema.parse({ data: { train: 'none' } });
const shape = {
  config: decoderOf(defaults),
  bytesPerWeight: 2,
  method: 'dota' as const,
  adapter,
  batch: 16,
  sequence: 256,
  accumulation: 2,
  residentLimit: 2 ** 30,
};
const bytes = (batch: number, recompute: boolean): number =>
  estimateTraining({ ...shape, batch, recompute }).totalBytes;
const choose = (availableBytes: number | undefined, findBatchSize: boolean) => {
  const { batch, recompute, fits } = fitMemory(shape, {
    availableBytes,
    recompute: 'auto',
    findBatchSize,
  });
  return { batch, recompute, fits };
};

describe('how a step is made to fit', () => {
  it('changes nothing where there is room, or where nobody knows', () => {
    expect(choose(1.3 * bytes(16, false), true)).toMatchObject({ batch: 16, recompute: false });
    expect(choose(undefined, true)).toEqual({ batch: 16, recompute: false, fits: true });
  });

  it('recomputes as soon as the estimate, a quarter more, passes what there is', () => {
    expect(choose(1.26 * bytes(16, false), false).recompute).toBe(false);
    expect(choose(1.24 * bytes(16, false), false)).toEqual({
      batch: 16,
      recompute: true,
      fits: true,
    });
  });

  it('takes fewer sequences first while they have 512 tokens, then recomputes, then fewer still', () => {
    expect(choose(1.26 * bytes(8, false), true)).toMatchObject({ batch: 8, recompute: false });
    expect(choose(1.26 * bytes(2, false), true)).toMatchObject({ batch: 2, recompute: false });
    // Two sequences of 256 are 512 tokens: one is below, so recomputation comes before it.
    const between = 1.26 * Math.max(bytes(2, true), bytes(1, false));
    expect(between).toBeLessThan(1.25 * bytes(2, false));
    expect(choose(between, true)).toMatchObject({ batch: 2, recompute: true });
  });

  it('takes the least where nothing fits, and says so', () => {
    expect(choose(1, true)).toEqual({ batch: 1, recompute: true, fits: false });
  });

  it('leaves the work of a step as it was', () => {
    const options = { recompute: false, findBatchSize: true, availableBytes: 1 };
    const { batch, estimate } = fitMemory(shape, options);
    expect(batch).toBe(1);
    const whole = estimateTraining({ ...shape, recompute: false });
    expect(estimate.tokensPerStep).toBe(whole.tokensPerStep);
  });
});
