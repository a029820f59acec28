import { describe, expect, it } from 'vitest';
import { estimateAnswers, estimateLine } from '../../../src/commands/fineTuneEstimate';
import type { FineTuneAnswers } from '../../../src/commands/fineTuneFlow';
import type { Trainer } from '../../../src/host/trainer';
import { DotaError } from '../../../src/protocol/errors';

describe('the estimate of the last step', () => {
  it('says memory and time in one line', () => {
    expect(estimateLine({ peak_rss_mb: 214, seconds_per_step: 0.0695, total_steps: 600 })).toBe(
      'About 214 MB of memory and 42 s on the CPU (600 steps)',
    );
    expect(estimateLine({ peak_rss_mb: 4870, seconds_per_step: 31, total_steps: 300 })).toBe(
      'About 4.9 GB of memory and 155 min on the CPU (300 steps)',
    );
  });

  it('says that Doctor asks a GPU which has not answered yet', () => {
    const estimate = { peak_rss_mb: 214, seconds_per_step: 0.0695, total_steps: 600 };
    expect(estimateLine({ ...estimate, device_asked: false })).toBe(
      'About 214 MB of memory and 42 s on the CPU (600 steps). DoTA: Doctor asks the GPU',
    );
    expect(estimateLine({ ...estimate, device_asked: true })).not.toContain('Doctor');
  });

  it('leaves time out where a GPU trains, and says nothing of an error', () => {
    expect(estimateLine({ peak_rss_mb: 214, seconds_per_step: null, total_steps: 6 })).toBe(
      'About 214 MB of memory',
    );
    expect(estimateLine({ error: { code: 'usage' } })).toBeUndefined();
    expect(estimateLine(undefined)).toBeUndefined();
  });

  it('is the reason where the device refuses what was chosen; other failures are told at the start', async () => {
    const answers: FineTuneAnswers = {
      model: { path: 'sample', name: 'sample', detail: '' },
      data: { name: 'sample', detail: '' },
      method: 'dota',
      targets: 'all-linear',
      rank: 8,
      length: { steps: 10 },
      finish: 'start',
    };
    const data = { train: 'a.json', validation: 'b.json', test: 'c.json' };
    const estimate = (error: DotaError): Promise<string | undefined> => {
      const trainer = { command: () => Promise.reject(error) } as unknown as Trainer;
      return estimateAnswers(trainer, answers, data, new AbortController().signal);
    };
    const refused = new DotaError('device.unavailable', 'The weight "x" is too large.');
    await expect(estimate(refused)).resolves.toBe('The weight "x" is too large.');
    const missing = new DotaError('file.missing', 'No data.');
    await expect(estimate(missing)).rejects.toBe(missing);
  });
});
