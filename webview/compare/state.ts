/** What the compare panel keeps while it is hidden. */
import type { CurveAxis } from '../../src/compare/groups';
import { isObject, isStringArray } from '../../src/protocol/guards';

export const curveAxes: readonly CurveAxis[] = ['step', 'tokens', 'elapsed'];

export const axisLabels: Readonly<Record<CurveAxis, string>> = {
  step: 'Step',
  tokens: 'Tokens',
  elapsed: 'Wall time',
};

export interface CompareState {
  axis: CurveAxis;
  log: boolean;
  /** Keys of groups that are left out of the drawings. */
  hidden: readonly string[];
}

export function parseCompareState(raw: unknown): CompareState {
  const saved = isObject(raw) ? raw : {};
  return {
    axis: curveAxes.find((axis) => axis === saved.axis) ?? 'step',
    log: saved.log === true,
    hidden: isStringArray(saved.hidden) ? saved.hidden : [],
  };
}
