import { describe, expect, it, vi } from 'vitest';
import { until } from '../../support/until';

describe('waiting for a condition', () => {
  it('gives what the first look that finds something gives', async () => {
    const looks = [undefined, false as const, 7, 8];
    expect(await until('seven', () => looks.shift())).toBe(7);
    expect(looks).toEqual([8]);
  });

  it('passes on what a look throws', async () => {
    await expect(until('x', () => Promise.reject(new Error('gone')))).rejects.toThrow('gone');
  });

  it('ends at its limit, with a look that never answers too', async () => {
    vi.useFakeTimers();
    try {
      const never = until('an answer', () => new Promise<true>(() => undefined), 60_000);
      const told = expect(never).rejects.toThrow(
        'Not within 60000 ms: an answer (the last look at it has not answered)',
      );
      const nothing = until('something', () => undefined, 60_000);
      const toldToo = expect(nothing).rejects.toThrow(/^Not within 60000 ms: something$/);
      await vi.advanceTimersByTimeAsync(59_000);
      const settled = vi.fn();
      never.catch(settled);
      nothing.catch(settled);
      await vi.advanceTimersByTimeAsync(0);
      expect(settled).not.toHaveBeenCalled();
      await vi.advanceTimersByTimeAsync(1000);
      await Promise.all([told, toldToo]);
    } finally {
      vi.useRealTimers();
    }
  });
});
