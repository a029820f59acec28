import { describe, expect, it } from 'vitest';
import { estimateLine } from '../../../src/commands/fineTuneEstimate';

describe('the estimate of the last step', () => {
  it('says memory and time in one line', () => {
    expect(estimateLine({ peak_rss_mb: 214, seconds_per_step: 0.0695, total_steps: 600 })).toBe(
      'About 214 MB of memory and 42 s on the CPU (600 steps)',
    );
    expect(estimateLine({ peak_rss_mb: 4870, seconds_per_step: 31, total_steps: 300 })).toBe(
      'About 4.9 GB of memory and 155 min on the CPU (300 steps)',
    );
  });

  it('leaves time out where a GPU trains, and says nothing of an error', () => {
    expect(estimateLine({ peak_rss_mb: 214, seconds_per_step: null, total_steps: 6 })).toBe(
      'About 214 MB of memory',
    );
    expect(estimateLine({ error: { code: 'usage' } })).toBeUndefined();
    expect(estimateLine(undefined)).toBeUndefined();
  });
});
