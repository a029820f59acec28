import { describe, expect, it } from 'vitest';
import { exportLoss } from '../../../src/commands/exportLoss';

describe('what the editor says of an export', () => {
  it.each([
    [{ tensors: 9, relative_error: 0.0051 }, ' Lost: 0.51 % of the weights’ norm'],
    [{ changed: 4, worst_rounding: 0.012 }, ' Lost: 1.2 % of a change at most by rounding'],
    [
      { modules: [{ relative_error: 0.1 }, { relative_error: 0.25 }] },
      ' Lost: 25 % of a change’s norm at most',
    ],
    [{ changed: 4, worst_rounding: null, four_bit_error: 0.09 }, ' The run’s 4-bit weights differ'],
  ])('%j: the measured loss', (result, expected) => {
    expect(exportLoss(result)).toContain(expected);
    expect(exportLoss(result)).not.toMatch(/NaN|undefined/);
  });

  it('is silent where nothing was lost, and about what it does not know', () => {
    for (const result of [
      null,
      'text',
      { modules: 4 },
      { modules: [{ relative_error: 0 }] },
      { changed: 20, worst_rounding: null },
    ]) {
      expect(exportLoss(result)).toBe('');
    }
  });
});
